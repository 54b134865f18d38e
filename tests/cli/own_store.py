"""An application that makes its store itself."""

from perdure import Application, PostgreSQLEventStore

app = Application(PostgreSQLEventStore("postgresql://ann:secret@127.0.0.1:1/shop"))
