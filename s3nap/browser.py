"""The terminal browser: a table of what is to be seen, a preview, and the question where to restore to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Label, Static

from s3nap.errors import S3napError
from s3nap.logs import one_line
from s3nap.progress import on_terminal
from s3nap.tour import Row, Tour


class _Table(DataTable[Text]):
    """The rows; what enter and the arrows do stands in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,right,l", "select_cursor", "Open, preview"),
        Binding("backspace,left,h", "app.up", "Up"),
        Binding("space", "app.mark", "Mark"),
        Binding("u", "app.unmark", "Unmark all"),
        Binding("r", "app.restore", "Restore"),
        Binding("q", "app.quit", "Quit"),
        Binding("home,g", "scroll_top", show=False),
        Binding("end,G", "scroll_bottom", show=False),
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
    ]


class _Preview(ModalScreen[None]):
    """The beginning of a file, or what was done."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,backspace,left", "close", "Close")]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self.text = text

    def compose(self) -> ComposeResult:
        """Show it so that it can be scrolled."""
        with Vertical():
            yield Label(Text(self._title), classes="title")
            with VerticalScroll():
                yield Static(Text(self.text))
            yield Footer()

    def on_mount(self) -> None:
        """Let the keys scroll."""
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        """Go back."""
        self.dismiss()


class _Target(ModalScreen[str | None]):
    """Asks for the folder to restore to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Restore"),
        Binding("escape", "cancel", "Cancel"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Show the question and a line to write into."""
        with Vertical():
            yield Label(Text(self._question), classes="title")
            yield Input(placeholder="/mnt/restored")
            yield Footer()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Take what was written."""
        self.action_submit()

    def action_submit(self) -> None:
        """Take what was written."""
        self.dismiss(self.query_one(Input).value.strip() or None)

    def action_cancel(self) -> None:
        """Restore nothing."""
        self.dismiss(None)


class Browser(App[None]):
    """Shows a tour."""

    TITLE = "s3nap"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    .title { width: 100%; padding: 0 1; background: $primary; color: $text; }
    DataTable { height: 1fr; }
    ModalScreen { align: center middle; }
    ModalScreen > Vertical { width: 90%; height: 90%; border: solid $primary; background: $surface; }
    _Target > Vertical { height: 8; }
    """

    def __init__(self, tour: Tour) -> None:
        """Begin where the tour is."""
        super().__init__()
        self._tour = tour
        self._rows: list[Row] = []

    def compose(self) -> ComposeResult:
        """Show where one is, the rows, and the keys."""
        yield Label("", id="where", classes="title")
        yield _Table(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        """Show the first rows."""
        self._fill()

    @property
    def _table(self) -> _Table:
        return self.query_one(_Table)

    def _fill(self, beside: bytes = b"") -> None:
        """Show what is here, the cursor on ``beside``."""
        self._rows = self._tour.rows()
        table = self._table
        table.clear(columns=True)
        table.add_column(Text(" "), width=1)
        for number, head in enumerate(self._tour.heads):  # widths set here: textual may draw before it knows them
            widths = (cell_len(row.cells[number]) for row in self._rows)
            table.add_column(Text(head), width=max(len(head), max(widths, default=0)))
        for row in self._rows:
            table.add_row(self._sign(row), *map(Text, row.cells))
        names = [row.name for row in self._rows]
        table.move_cursor(row=names.index(beside) if beside in names else 0)
        table.focus()
        self._say_where()

    def _sign(self, row: Row) -> Text:
        return Text("*" if self._tour.is_marked(row.name) else " ")

    def _say_where(self) -> None:
        marks = f"   {self._tour.marks} marked" if self._tour.marks else ""
        self.query_one("#where", Label).update(Text(self._tour.title + marks))

    def _row(self) -> Row | None:
        number = self._table.cursor_row
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def on_data_table_row_selected(self, _event: DataTable.RowSelected) -> None:
        """Go in, or show the file."""
        row = self._row()
        if row is None:
            return
        if row.kind in {"job", "day", "d"}:
            if self._tried(lambda: self._tour.enter(row.name), f"reading {self._tour.title} …", row):
                self._fill()
        elif row.kind == "-":
            found: list[str] = []
            if self._tried(lambda: found.append(self._tour.preview(row.name)), f"reading {row.cells[-1]} …", row):
                self.push_screen(_Preview(row.cells[-1], found[0]))
        else:
            self.notify(row.cells[-1], markup=False)

    def _tried(self, act: Callable[[], None], saying: str, row: Row) -> bool:
        """Do it and say what failed. Where a key may be asked for the terminal is given back meanwhile."""
        try:
            if self._tour.asks(row.name):
                with self._plainly(saying):
                    act()
            else:
                act()
        except S3napError as error:
            self.notify(one_line(str(error)), severity="error", timeout=20, markup=False)
            return False
        return True

    @contextmanager
    def _plainly(self, saying: str) -> Iterator[None]:
        """Give the terminal back: gpg may ask, a bar may show, and Ctrl-C works."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.suspend())
                print(one_line(saying), flush=True)  # noqa: T201 - to the person at the plain terminal
            except SuspendNotSupported:
                pass
            yield

    def action_up(self) -> None:
        """Go up."""
        self._fill(beside=self._tour.leave())

    def action_mark(self) -> None:
        """Mark what the cursor is on, and go on."""
        row = self._row()
        if row is None or not self._tour.toggle(row.name):
            self.notify("go into a day to mark files and directories", markup=False)
            return
        table = self._table
        key, _ = table.coordinate_to_cell_key(table.cursor_coordinate)
        table.update_cell(key, next(iter(table.columns)), self._sign(row))
        table.action_cursor_down()
        self._say_where()

    def action_unmark(self) -> None:
        """Take all marks away."""
        row = self._row()
        self._tour.unmark()
        self._fill(beside=row.name if row is not None else b"")

    def action_restore(self) -> None:
        """Ask for the target, then restore what is marked."""
        if not self._tour.marks:
            self.notify("nothing is marked: mark files and directories with the space bar", markup=False)
            return
        self.push_screen(_Target(f"Restore {self._tour.marks} marked into which new or empty folder?"), self._restore)

    def _restore(self, target: str | None) -> None:
        if target is None:
            return
        row = self._row()
        try:
            with self._plainly(f"restoring to {target} …"):
                said = self._tour.restore(Path(target).expanduser(), on_terminal(quiet=self.is_headless))
        except (S3napError, OSError) as error:
            self.notify(one_line(str(error)), severity="error", timeout=20, markup=False)
            return
        self._fill(beside=row.name if row is not None else b"")
        self.push_screen(_Preview("done", one_line(said)))
