"""The docs site: `make docs`, or `python -m sphinx --fail-on-warning docs build/docs`. It needs no network."""

import sys
from pathlib import Path

import unroll

sys.path.append(str(Path(__file__).parent))  # directives.py

project = "unroll"
version = release = unroll.__version__
copyright = "the unroll contributors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "directives"]
exclude_patterns = ["figures"]
default_role = "code"  # a word between single backticks in a docstring

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links to headings, as on GitHub

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of torch and Lightning are theirs
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "unroll"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
alone = ("index", "start", "examples", "results", "performance", "reliability", "command-line", "search", "genindex")
html_sidebars = {page: [] for page in alone}  # no section holds them
html_theme_options = {
    "logo": {"text": "unroll"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
