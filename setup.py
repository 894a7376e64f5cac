"""What pyproject.toml can't say: a wheel holds the folder conf/ as unroll/conf."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConf(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # a checkout reads conf/ where it is
            shutil.copytree("conf", Path(self.build_lib, "unroll", "conf"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConf})
