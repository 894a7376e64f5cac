"""HTML pages by templates that escape whatever is put into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from unroll.shown import shown


def page_template(folder: str, *filters: Callable[..., Any]) -> Template:
    """Return the template `page.html` of a folder of this package. It knows the filter `shown`, and the given functions
    by their names; a variable that it is not given is an error."""
    environment = Environment(
        loader=PackageLoader("unroll", folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (shown, *filters):
        environment.filters[function.__name__] = function
    return environment.get_template("page.html")
