"""This build, installed into a folder of its own, for the tests that use it from outside."""
import os, pathlib, subprocess, tempfile

BUILD = pathlib.Path(os.environ["STREAMBUS_BUILD_DIR"])
ROOT = pathlib.Path(__file__).resolve().parents[3]
# CMake's variables of the build under test, so that a sanitized package is used by a sanitized program.
SETTINGS = os.environ["STREAMBUS_PACKAGE_SETTINGS"].split("|")


def run(*command, code=0, **options):
    """Runs it; what it printed on standard output (with `code` 0) or on both."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if result.returncode != code:
        raise AssertionError(f"{' '.join(map(str, command))} exited with {result.returncode}:\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    return result.stdout if code == 0 else result.stdout + result.stderr


class Installed:
    """A prefix with the given components, in a temporary folder; all of them where none is named."""

    def __init__(self, *components):
        self.folder = tempfile.TemporaryDirectory(prefix="streambus-package-")
        self.path = pathlib.Path(self.folder.name)
        self.prefix = self.path / "prefix"
        for component in components or [None]:
            run("cmake", "--install", BUILD, "--prefix", self.prefix, *(["--component", component] if component else []))

    def environment(self):
        """Of a user who has the prefix in the paths. What is compiled is found again in the next run, whatever the folder's name."""
        settings = dict(setting.removeprefix("-D").split("=", 1) for setting in SETTINGS)
        return os.environ | {
            "PATH": f"{self.prefix}/bin:{os.environ['PATH']}", "CMAKE_PREFIX_PATH": str(self.prefix), "CXX": settings["CMAKE_CXX_COMPILER"],
            "CXXFLAGS": settings["CMAKE_CXX_FLAGS"], "CCACHE_BASEDIR": str(self.path), "CCACHE_NOHASHDIR": "1",
            "CMAKE_CXX_COMPILER_LAUNCHER": settings.get("CMAKE_CXX_COMPILER_LAUNCHER", ""), "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}

    def cleanup(self):
        self.folder.cleanup()
