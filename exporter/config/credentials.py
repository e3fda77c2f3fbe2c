"""The sections that say how the exporter signs in, and whose certificates it trusts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from exporter.config import values
from exporter.config.secret import Secret, SecretFile
from exporter.config.section import Fault, Section, at_most_one, exactly_one

Url = Annotated[str, values.URL]
Text = Annotated[str, values.TEXT]
Proxy = Annotated[str, values.PROXY]
Hidden = Annotated[Secret, values.SECRET]
HiddenFile = Annotated[SecretFile, values.SECRET_FILE]


class Tls(Section):
    """How the certificate of a server is checked."""

    ca_file: Annotated[Path, values.CERTIFICATES] | None = Field(
        default=None,
        description="Certificates to trust instead of the system's. Set it where a private authority signed "
        "the server's certificate, or a proxy opens TLS. Without it `REQUESTS_CA_BUNDLE` of the environment "
        "counts, else `SSL_CERT_FILE` and `SSL_CERT_DIR`, else the system's store; a system that has none, "
        "such as a slim container, gets Mozilla's.",
    )
    insecure_skip_verify: Annotated[bool, values.BOOLEAN] = Field(
        default=False,
        description="Accept any certificate. For a first test only: anyone between the exporter and the "
        "server can read the credentials.",
    )


class PasswordAuth(Section):
    """An IAM v3 token with the scope of the project. The exporter gets it with a user's password."""

    iam_endpoint: Url = Field(
        description="IAM's address with its version, such as `https://iam.eu-de.otc.t-systems.com/v3`."
    )
    domain: Text = Field(description="Name of the domain (account) that the user belongs to.")
    username: Text = Field(description="Name of the IAM user. Create a user for the exporter alone.")
    password: Hidden | None = Field(
        default=None, description="The user's password, better as `${NAME}`. Set this or `password_file`."
    )
    password_file: HiddenFile | None = Field(
        default=None,
        description="File that holds the password. After a refusal, a change of it is tried at once.",
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One source of the password."""
        yield from exactly_one(data, "password", "password_file")

    def read_password(self) -> str:
        """The password as it is now; raises `SecretUnreadable`."""
        return _read(self.password, self.password_file)


class AkSkAuth(Section):
    """Every request is signed with an access key (SDK-HMAC-SHA256). No IAM and no token is needed."""

    access_key: Text = Field(description="Id of the access key (AK).")
    secret_key: Hidden | None = Field(
        default=None,
        description="Secret access key (SK), better as `${NAME}`. Set this or `secret_key_file`.",
    )
    secret_key_file: HiddenFile | None = Field(
        default=None, description="File that holds the secret access key; read again when it changes."
    )
    security_token: Hidden | None = Field(
        default=None,
        description="Security token of a temporary key. It expires, so `security_token_file` is better.",
    )
    security_token_file: HiddenFile | None = Field(
        default=None, description="File that holds the security token; read again when it changes."
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One source of each secret."""
        yield from exactly_one(data, "secret_key", "secret_key_file")
        yield from at_most_one(data, "security_token", "security_token_file")

    def read_secret_key(self) -> str:
        """The secret access key as it is now; raises `SecretUnreadable`."""
        return _read(self.secret_key, self.secret_key_file)

    def read_security_token(self) -> str | None:
        """The security token as it is now, None for permanent keys; raises `SecretUnreadable`."""
        if self.security_token is None and self.security_token_file is None:
            return None
        return _read(self.security_token, self.security_token_file)


class Auth(Section):
    """How to sign in. Set exactly one of the three."""

    password: PasswordAuth | None = Field(default=None, description="A user's password, for an IAM v3 token.")
    aksk: AkSkAuth | None = Field(
        default=None,
        description="An access key to sign requests. Use it if IAM is out of reach, or tokens are too long.",
    )
    token_file: HiddenFile | None = Field(
        default=None, description="File with a token that another program renews; read again when it changes."
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One way to sign in."""
        yield from exactly_one(data, "password", "aksk", "token_file")


class BasicAuth(Section):
    """A user and a password."""

    username: Text = Field(description="Name of the user.")
    password: Hidden | None = Field(
        default=None, description="The password, better as `${NAME}`. Set this or `password_file`."
    )
    password_file: HiddenFile | None = Field(default=None, description="File that holds the password.")

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """One source of the password."""
        yield from exactly_one(data, "password", "password_file")

    def read_password(self) -> str:
        """The password as it is now; raises `SecretUnreadable`."""
        return _read(self.password, self.password_file)

    def login(self) -> tuple[str, str]:
        """User and password as they are now; raises `SecretUnreadable`."""
        return self.username, self.read_password()


def login_needs_proxy(data: Mapping[str, Any]) -> Iterator[Fault]:
    """A fault where `proxy_basic_auth` has no proxy that it could be for."""
    if data.get("proxy_basic_auth") is not None and data.get("proxy_url") in (None, "none"):
        remedy = "a proxy of the environment has its user in its URL"
        yield ("proxy_basic_auth",), f"is set without the URL of a proxy in proxy_url; {remedy}"


def _read(secret: Secret | None, file: SecretFile | None) -> str:
    if file is not None:
        return file.read()
    assert secret is not None, "validation left exactly one of the two"
    return secret.reveal()
