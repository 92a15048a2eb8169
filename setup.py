"""What pyproject.toml cannot say: a wheel carries jobs/ as raygen/jobs/, for `raygen init`. There is one copy, at the top."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TEMPLATES = ("jobs/*.yaml", "jobs/recipes/*.yaml", "jobs/data/*")


class BuildWithTemplates(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a clone has them beside the package
        for pattern in TEMPLATES:
            for path in sorted(Path(".").glob(pattern)):
                target = Path(self.build_lib) / "raygen" / path
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": BuildWithTemplates})
