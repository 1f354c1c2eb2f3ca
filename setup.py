"""The one step of the build that pyproject.toml cannot say: a wheel gets `configs/` as `textadv/configs/`."""

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the package, and the configs into it; an editable install reads them where they are written."""

    def run(self) -> None:
        """Copy."""
        super().run()
        if not self.editable_mode:
            self.copy_tree("configs", f"{self.build_lib}/textadv/configs")


setup(cmdclass={"build_py": BuildWithConfigs})
