"""`dev` shows the e-mails in the log of the role, each line once."""

from pathlib import Path

from gengui_stream.dev.shown_emails import ShownEmails
from gengui_stream.mail.console import PREFIX


def test_each_line_of_an_e_mail_is_shown_once_and_no_other(tmp_path: Path) -> None:
    log, shown = tmp_path / "account-jobs.log", list[str]()
    log.write_text(f"{PREFIX}of an earlier run\n")
    emails = ShownEmails(log, shown.append)
    with log.open("a") as file:
        file.write(f"{PREFIX}To: ada@example.com\n{{}}\n{PREFIX}half a")
        file.flush()
        emails.show_new()
        emails.show_new()
        assert shown == [f"{PREFIX}To: ada@example.com"]
        file.write(" line\n")
        file.flush()
        emails.show_new()
    assert shown[1:] == [f"{PREFIX}half a line"]
    log.write_text(f"{PREFIX}again\n")  # the role was restarted
    emails.show_new()
    assert shown[2:] == [f"{PREFIX}again"]


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    log, shown = tmp_path / "account-jobs.log", list[str]()
    emails = ShownEmails(log, shown.append)
    emails.show_new()
    log.write_text(f"{PREFIX}Subject: Hello\n")
    emails.show_new()
    assert shown == [f"{PREFIX}Subject: Hello"]
