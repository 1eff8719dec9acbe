"""Builds the native aligner with CMake and ninja; everything else is in pyproject.toml."""

import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


class CMakeBuild(build_ext):
    def build_extension(self, ext: Extension) -> None:
        built = Path(self.get_ext_fullpath(ext.name)).resolve()
        work = Path(self.build_temp).resolve()
        configure = [
            f"-S{ROOT}",
            f"-B{work}",
            "-GNinja",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={built.parent}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ]
        # An isolated build's tools are gone by the next one, but CMake's cache would name them.
        (work / "CMakeCache.txt").unlink(missing_ok=True)
        subprocess.run(["cmake", *configure], check=True)
        subprocess.run(["cmake", "--build", str(work), "--target", "_native"], check=True)
        # Also beside the sources: `python -m weam_ext.train` works from the checkout's root.
        beside = ROOT / "weam_ext" / built.name
        if beside != built:
            shutil.copy2(built, beside.with_suffix(".part"))
            beside.with_suffix(".part").replace(beside)  # a running program keeps its own copy


setup(
    packages=[*find_packages(include=["weam_ext*"]), "weam_ref"],
    package_dir={"weam_ext": "weam_ext", "weam_ref": "python/weam_ref"},
    package_data={
        "weam_ext": ["py.typed", "*.pyi"],
        "weam_ext.report": ["*.css", "*.html", "*.js", "*.md"],
        "weam_ref": ["py.typed"],
    },
    ext_modules=[Extension("weam_ext._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
