import sys
from subprocess import run


def test_the_story_is_told_to_its_end() -> None:
    told = run([sys.executable, "-m", "examples.shop"], capture_output=True, text=True, timeout=100, check=False)

    assert (told.returncode, told.stderr) == (0, "")
    assert [line[:2] for line in told.stdout.splitlines() if line[0] != " "] == [f"{n}." for n in range(1, 10)]
    assert "order 1 in version 3: sent, to Kiel, 3297 + 626" in told.stdout
    assert "the operator retried 1: order 5 in version 1: placed, to Lund, 999 + 249" in told.stdout
