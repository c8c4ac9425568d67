"""Operations on the account of the caller: log-in, sessions, keys, preferences."""

from typing import Final

from schemas.accounts import (
    AccountChange,
    AccountDeletion,
    AccountResource,
    CreateKey,
    EmailChange,
    KeyList,
    LogIn,
    MailedLink,
    MailPromise,
    MailRequest,
    NewKeyResource,
    PasswordChange,
    PasswordReset,
    PreferencesChange,
    PreferencesResource,
    SessionList,
    SignUp,
)
from schemas.operations.operation import Operation

_AUTH: Final = "/v1/auth"
_ACCOUNT: Final = "/v1/account"
_KEYS: Final = f"{_ACCOUNT}/keys"
_PUBLIC: Final = (400, 403, 408, 413, 415, 422, 503)
_OWN: Final = (400, 401, 403, 408, 413, 415, 422, 429, 503)

ACCOUNTS: Final[tuple[Operation, ...]] = (
    Operation("post", f"{_AUTH}/signup", "sign_up", "accounts", "Sign up; an e-mail has the link to go on",
              {202: MailPromise}, (400, 403, 408, 409, 413, 415, 422, 503), SignUp, auth="none"),
    Operation("post", f"{_AUTH}/verify-email", "verify_email", "accounts", "Verify the e-mail address", {204: None},
              _PUBLIC, MailedLink, auth="none"),
    Operation("post", f"{_AUTH}/resend-verification", "resend_verification", "accounts",
              "Get another e-mail to verify the address", {202: MailPromise}, _PUBLIC, MailRequest, auth="none"),
    Operation("post", f"{_AUTH}/login", "log_in", "accounts", "Log in: the response has the cookie of a new session",
              {200: AccountResource}, (400, 401, 403, 408, 413, 415, 422, 429, 503), LogIn, auth="none"),
    Operation("post", f"{_AUTH}/logout", "log_out", "accounts", "Log out; safe to repeat", {204: None},
              (403, 422, 503), auth="none"),
    Operation("post", f"{_AUTH}/password-reset", "request_password_reset", "accounts",
              "Get an e-mail to choose another password", {202: MailPromise}, _PUBLIC, MailRequest, auth="none"),
    Operation("post", f"{_AUTH}/password-reset/confirm", "reset_password", "accounts",
              "Choose another password; all sessions end", {204: None}, _PUBLIC, PasswordReset, auth="none"),
    Operation("post", f"{_AUTH}/confirm-email", "confirm_email", "accounts",
              "Confirm another e-mail address; all sessions end", {204: None}, _PUBLIC, MailedLink, auth="none"),
    Operation("get", _ACCOUNT, "get_account", "accounts", "The account of the caller", {200: AccountResource},
              (400, 401, 403, 422, 503), auth="session"),
    Operation("patch", _ACCOUNT, "rename_account", "accounts", "Change the user name", {200: AccountResource},
              (400, 401, 403, 408, 409, 413, 415, 422, 429, 503), AccountChange, auth="session"),
    Operation("delete", _ACCOUNT, "delete_account", "accounts", "Delete the account after a grace time",
              {202: AccountResource}, _OWN, AccountDeletion, auth="session"),
    Operation("post", f"{_ACCOUNT}/restore", "restore_account", "accounts", "Keep an account that is being deleted",
              {200: AccountResource}, (400, 401, 403, 409, 422, 503), auth="session"),
    Operation("get", f"{_ACCOUNT}/preferences", "get_preferences", "accounts", "The preferences of the caller",
              {200: PreferencesResource}, (400, 401, 403, 422, 503), auth="session"),
    Operation("patch", f"{_ACCOUNT}/preferences", "change_preferences", "accounts", "Change preferences",
              {200: PreferencesResource}, (400, 401, 403, 408, 413, 415, 422, 503), PreferencesChange, auth="session"),
    Operation("put", f"{_ACCOUNT}/password", "change_password", "accounts",
              "Change the password; all other sessions end", {204: None}, _OWN, PasswordChange, auth="session"),
    Operation("post", f"{_ACCOUNT}/email", "change_email", "accounts",
              "Get an e-mail at another address to confirm it", {202: MailPromise}, _OWN, EmailChange, auth="session"),
    Operation("get", f"{_ACCOUNT}/sessions", "list_sessions", "accounts", "The sessions of the caller",
              {200: SessionList}, (400, 401, 403, 422, 503), auth="session"),
    Operation("delete", f"{_ACCOUNT}/sessions", "end_other_sessions", "accounts", "End all sessions but this one",
              {204: None}, (400, 401, 403, 422, 503), auth="session"),
    Operation("delete", f"{_ACCOUNT}/sessions/{{id}}", "end_session", "accounts", "End a session", {204: None},
              (400, 401, 403, 404, 422, 503), auth="session"),
    Operation("get", _KEYS, "list_keys", "accounts", "The API keys of the caller", {200: KeyList},
              (400, 401, 403, 422, 503), auth="session"),
    Operation("post", _KEYS, "create_key", "accounts", "Create an API key; the response alone has its secret",
              {201: NewKeyResource}, (400, 401, 403, 408, 409, 413, 415, 422, 503), CreateKey, auth="session"),
    Operation("delete", f"{_KEYS}/{{key_id}}", "revoke_key", "accounts",
              "Revoke an API key at once, and end its event streams; safe to repeat", {204: None},
              (400, 401, 403, 404, 422, 503), None, ("key_id",), auth="session"),
)  # fmt: skip
