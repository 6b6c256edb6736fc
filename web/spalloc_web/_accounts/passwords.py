"""Passwords as hashes, slow on purpose (scrypt, RFC 7914) and compared in constant time.

A hash is text: ``scrypt$LOG2_N$R$P$SALT$KEY``, salt and key in base64.  It carries its costs, so
that older ones stay valid when the costs rise.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import unicodedata
from typing import NamedTuple

SHORTEST = 10
LONGEST = 256


class Cost(NamedTuple):
    """The costs of one hash: ``128 * r * 2 ** log2_n`` bytes; time grows with `p`, too."""

    log2_n: int
    r: int
    p: int


#: 32 MiB, and about 0.2 s.  Source: OWASP Password Storage Cheat Sheet, scrypt.
COST = Cost(15, 8, 3)
#: The highest costs that are accepted from a file.
_HIGHEST = Cost(20, 32, 16)
_SALT_BYTES, _KEY_BYTES = 16, 32


class PasswordError(ValueError):
    """A password that cannot be one; the text says why, and never holds it."""


def check_password(password: str, name: str) -> None:
    """Check a new password.

    Parameters
    ----------
    password : str
    name : str
        Of the user.

    Raises
    ------
    PasswordError
        If it is too short, too long, has control characters, or is the name.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordError(
            f"a password has {SHORTEST} to {LONGEST} characters, not {len(password)}"
        )
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in password):
        raise PasswordError("a password has no control characters")
    if password.casefold() == name.casefold():
        raise PasswordError("a password is not the user's name")


def hash_of(password: str, cost: Cost = COST) -> str:
    """Return a new hash of a password, with a salt of its own."""
    salt = os.urandom(_SALT_BYTES)
    key = _key(password, salt, cost)
    texts = (base64.b64encode(part).decode() for part in (salt, key))
    return "$".join(("scrypt", *map(str, cost), *texts))


def is_right(password: str, hashed: str) -> bool:
    """Whether a hash is of this password.

    Raises
    ------
    ValueError
        If the hash is of bad form.
    """
    cost, salt, key = parts_of(hashed)
    return hmac.compare_digest(_key(password, salt, cost), key)


def parts_of(hashed: str) -> tuple[Cost, bytes, bytes]:
    """Take a hash apart.

    Returns
    -------
    cost, salt, key

    Raises
    ------
    ValueError
        If it is of bad form, or its costs are beyond all measure.
    """
    parts = hashed.split("$")
    if len(parts) != 6 or parts[0] != "scrypt":
        raise ValueError("is no hash of the form scrypt$LOG2_N$R$P$SALT$KEY")
    try:
        cost = Cost(*(int(part) for part in parts[1:4]))
        salt, key = (base64.b64decode(part, validate=True) for part in parts[4:])
    except (ValueError, binascii.Error) as e:
        raise ValueError(f"is no hash of the form scrypt$LOG2_N$R$P$SALT$KEY ({e})") from e
    if not all(1 <= part <= most for part, most in zip(cost, _HIGHEST, strict=True)):
        raise ValueError(f"has costs {tuple(cost)}: expected 1 to {tuple(_HIGHEST)}")
    if len(key) != _KEY_BYTES:
        raise ValueError(f"has a key of {len(key)} bytes: expected {_KEY_BYTES}")
    return cost, salt, key


def _key(password: str, salt: bytes, cost: Cost) -> bytes:
    # The same letters may be written in several ways, by keyboards of different systems.
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(
        text,
        salt=salt,
        n=1 << cost.log2_n,
        r=cost.r,
        p=cost.p,
        maxmem=256 * cost.r * ((1 << cost.log2_n) + cost.p),
        dklen=_KEY_BYTES,
    )
