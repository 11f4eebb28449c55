"""run() again: after a stop, an error or an edit, and with nothing left of the run before."""

from __future__ import annotations

from pathlib import Path

from tests.base.notebook.cells import run_cells
from tests.base.notebook.test_run import read_metrics, read_session
from tests.helpers import copy_project, differences, load

STOPPING = """
import os, signal, torch
import trainer.trainer
Trainer = trainer.trainer.Trainer

class Stopping(Trainer):
    stops = [22, 50]

    def after_step(self, loss=None):
        if self.stops and self.progress.step == self.stops[0]:
            self.stops.pop(0)
            os.kill(os.getpid(), signal.SIGINT)
        super().after_step(loss)

words = ["trainer.epochs=4"]
"""


def test_a_stopped_training_goes_on(tmp_path: Path) -> None:
    run_cells(
        tmp_path,
        STOPPING
        + """
stopped = run("config.json", *words, run_id="stopped", arch=Net, trainer=Stopping)
assert stopped.stop.reason == "SIGINT", stopped.stop.reason
assert stopped.progress.step == 22
assert list(stopped.checkpoint_dir.glob("checkpoint-*.pt"))
assert run("config.json", *words, run_id="other", arch=Net).last_log["epoch"] == 4
torch.rand(3)
stopped.train()
assert stopped.progress.step == 50
expect("holds a run already", "config.json", run_id="stopped")
stopped.train()
assert stopped.last_log["epoch"] == 4
stopped.epochs = 5
stopped.train()
assert stopped.last_log["epoch"] == 5
run("config.json", "trainer.epochs=5", run_id="whole", arch=Net, trainer=Stopping)
""",
    )
    stopped, other = (tmp_path / "saved/digits" / name for name in ("stopped", "whole"))
    assert read_metrics(stopped) == read_metrics(other)
    name = "checkpoint-epoch5.pt"
    assert not differences(*(load(path / name)["state_dict"] for path in (stopped, other)))
    outcomes = [read_session(stopped, index)["outcome"] for index in range(4)]
    assert outcomes == ["stopped by SIGINT"] * 2 + ["finished"] * 2
    log = (stopped / "log/info.log").read_text("utf-8")
    assert all(f"epoch {epoch}/" in log for epoch in range(1, 6))


def test_nothing_is_left_of_a_run(tmp_path: Path) -> None:
    run_cells(
        tmp_path,
        """
        import logging, multiprocessing, os, signal, sys, threading, warnings, torch

        class Failing(Net):
            def forward(self, x):
                raise ZeroDivisionError("of the user")

        def describe():
            return (
                logging.getLogger().handlers[:], logging.getLogger().level,
                [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
                warnings.filters[:], warnings.showwarning, sys.stdout, threading.excepthook,
                torch.get_deterministic_debug_mode(), torch.get_rng_state().tolist(),
                sys.unraisablehook,
            )

        def check():
            assert describe() == before, (describe(), before)
            assert not multiprocessing.active_children()
            links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
            files = [os.readlink(link) for link in links if os.path.islink(link)]
            assert not [file for file in files if "saved" in file], files

        before = describe()
        run("config.json", "trainer.epochs=1", run_id="first")
        check()
        workers = {"args": {"num_workers": 2}}
        run("config.json", "trainer.epochs=1", run_id="second", data_loader=workers)
        check()
        try:
            run("config.json", run_id="failed", arch=Failing, data_loader=workers)
        except ZeroDivisionError as error:
            assert "arch: Failing failed" in "".join(error.__notes__), error.__notes__
            assert "cells.py:" in "".join(error.__notes__), error.__notes__
            del error
        check()
        expect("wants int", "trainer.epochs=x")
        check()
        run("config.json", "trainer.epochs=1", run_id="third")
        check()
        """,
    )
    text = (tmp_path / "saved/digits/third/log/info.log").read_text("utf-8")
    assert "epoch 1/1" in text
    assert "ZeroDivisionError" in (tmp_path / "saved/digits/failed/log/info.log").read_text("utf-8")


def test_an_edited_file_is_used(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    run_cells(
        tmp_path,
        """
        import os, sys
        from pathlib import Path
        sys.dont_write_bytecode = False  # as in a kernel
        words = "config.json", "trainer.epochs=1"
        file = Path("project/model/edited.py")
        text = Path("cells.py").read_text().partition("class Net")[2].partition("def expect")[0]
        text = "from torch import nn\\nfrom model.size import SIZE\\nclass Net" + text

        def write(size):
            Path("project/model/size.py").write_text(f"SIZE = {size}\\n")
            os.utime("project/model/size.py", (1e9, 1e9))  # a file system with a coarse time

        def get_size(**sections):
            trainer = run(*words, arch={"type": "edited.Net", "args": {
                "~num_classes": None, "~in_channels": None}})
            return trainer.model.layers[1].out_features

        expect("edited", *words, arch={"type": "edited.Net"})  # there is no such file yet
        write(11)
        file.write_text(text.replace("= 16", "= SIZE"))
        assert get_size() == 11
        write(12)  # an import of the file, of the same length in the same second
        assert get_size() == 12
        file.write_text(text.replace("= 16", "= ="))
        word = "model/edited.py cannot be imported: SyntaxError"
        expect(word, *words, arch={"type": "edited.Net"})
        file.write_text(text.replace("= 16", "= SIZE + 1"))
        assert get_size() == 13
        from model.edited import Net as Imported
        kinds = {run(*words, arch=Imported).model.__class__ for _ in range(2)}
        assert kinds == {Imported}  # nothing has changed
        write(20)
        assert run(*words, arch=Imported).model.layers[1].out_features == 21
        """,
        project,
    )


def test_another_thread_is_refused_and_a_missing_folder_is_a_line(tmp_path: Path) -> None:
    run_cells(
        tmp_path,
        """
        import os, shutil, threading
        errors = []

        def call(function, *args):
            try:
                function(*args)
            except Exception as error:
                assert type(error).__name__ == "RunError", repr(error)
                errors.append(str(error))

        class Calling(Net):
            def forward(self, x):
                if not errors:
                    thread = threading.Thread(target=call, args=(run, "config.json"))
                    thread.start()
                    thread.join()
                return super().forward(x)

        trainer = run("config.json", "trainer.epochs=1", arch=Calling)
        assert errors.pop().startswith("another thread of this process trains"), errors
        folder = os.getcwd()
        os.chdir("/")
        assert len(trainer.history) == 1  # also from another folder
        os.chdir(folder)
        shutil.rmtree(trainer.checkpoint_dir)
        trainer.epochs = 2
        call(trainer.train)
        assert errors.pop().endswith("the folder of this run is gone; start another run")
        """,
    )
