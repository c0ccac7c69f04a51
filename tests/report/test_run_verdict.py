"""What went wrong in a run besides its loops: from whoever noticed, by the recording, onto the page."""

import errno
from pathlib import Path

from rtloop import Config, Run, open_recording
from rtloop.report.verdict import Level, judge, judge_run
from rtloop.run import exit_code
from tests.report.test_report import Page
from tests.report.test_verdict import summary
from tests.test_python_runs import balance

FELL = "device robot: it fell after 4.0 s"


def run_of(folder: Path, *problems: str) -> Run:
    config = Config(loops={"balance": balance()}, recording={"directory": folder})
    run = Run(config, plant=lambda: problems)
    with run:
        run.wait(0.1)
    return run


def green(page: Page) -> bool:
    return ("class", "verdict met") in page.attributes


def test_a_robot_that_fell_is_red_in_the_report_and_nothing_green_beside_it(tmp_path: Path) -> None:
    run = run_of(tmp_path, FELL)
    assert run.summary is not None
    assert (run.summary.problems, exit_code(run.summary)) == ((FELL,), 1)
    assert open_recording(run.recording).problems == (FELL,)
    page = Page(run.write_report())
    assert "The run had 1 problem" in page.text
    assert FELL in page.text
    assert ("class", "verdict failed") in page.attributes
    assert not green(page)
    assert not page.broken


def test_a_run_without_problems_may_be_green(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert open_recording(run.recording).problems == ()
    page = Page(run.write_report())
    assert "The run had" not in page.text
    assert green(page)


def test_who_cannot_say_what_became_of_the_plant_does_not_keep_a_run_from_its_end(
    tmp_path: Path,
) -> None:
    def silent() -> list[str]:
        raise OSError(errno.EPIPE, "the board is gone")

    config = Config(loops={"balance": balance()}, recording={"directory": tmp_path})
    with Run(config, plant=silent) as run:
        run.wait(0.05)
    assert run.summary is not None
    (problem,) = run.summary.problems
    assert "nobody can say what became of the plant" in problem
    assert open_recording(run.recording).problems == (problem,)


def test_the_plant_is_asked_once_an_activation_and_not_without_one(tmp_path: Path) -> None:
    asked: list[str] = []

    def plant() -> list[str]:
        asked.append(run.state)
        return []

    run = Run(Config(loops={"balance": balance()}), record=False, plant=plant)
    run.configure()
    run.cleanup()
    assert asked == []
    for _ in range(2):
        run.start()
        run.deactivate()
        run.stop()
    assert len(asked) == 2


def test_late_results_that_a_class_allows_stay_what_they_are_beside_a_problem() -> None:
    run = judge_run([FELL])
    assert run is not None
    assert judge(summary("firm"), run).level is Level.OVERSHADOWED
    assert judge(summary("firm", miss_every=500), run).level is Level.TOLERATED
    assert judge(summary("hard", miss_every=500), run).level is Level.FAILED
    assert judge_run(()) is None
