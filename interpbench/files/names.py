"""Names of files and folders that every system takes."""

import re

LONGEST = 64  # characters of a name that becomes a folder's
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *", re.IGNORECASE)
_PLAIN = re.compile(rf"\w(?:[\w .-]{{0,{LONGEST - 2}}}[\w-])?")


def is_reserved(name: str) -> bool:
    """Whether Windows takes a file of that name for a device, whatever its suffix: `con.png`."""
    return _RESERVED.fullmatch(name.partition(".")[0]) is not None


def unreserved(name: str) -> str:
    """The name, after an underscore if it is reserved."""
    return f"_{name}" if is_reserved(name) else name


def is_folder_name(name: str) -> bool:
    """Whether a name can be a folder's as it is, and stays where it is put.

    Letters, digits, underscores, dashes, dots and spaces within; nothing reserved.
    """
    return _PLAIN.fullmatch(name) is not None and not is_reserved(name)
