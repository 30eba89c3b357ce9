from pathlib import Path

MODULES = sorted(Path(__file__).parent.glob("[a-z]*.py"))
BENCHMARKS = [path.stem for path in MODULES if "def main(" in path.read_text()]
