"""What belongs to one user alone: how it is made, and what is asked before anything found is believed.

Rings lie in a folder where every user may write, and recovery is often run as root. So the name of
a file says nothing: a folder is opened once, by a descriptor and never through a link, and then
asked whose it is. All work inside goes through that descriptor (``pinned``), whoever renames what.
"""

import errno
import fcntl
import grp
import os
import pwd
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from rtloop.errors import RecordingError

_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_LINKS = 40
_ANYBODY_WRITES = stat.S_IWOTH
_GROUP_READS = stat.S_ISGID | stat.S_IRGRP | stat.S_IXGRP
_READ_BY_GROUP = 0o640
_READ_BY_OWNER = 0o600


class ForeignError(RecordingError):
    """It belongs to somebody else."""

    def __init__(self, path: Path, uid: int) -> None:
        self.owner = user_name(uid)
        super().__init__(
            f"{printable(path)} belongs to {self.owner}: only {self.owner} may use it here "
            f"(`sudo -u {self.owner} …`)"
        )


class UnknownGroupError(RecordingError):
    """There is no such group to share with, or the caller is not in it."""


class BusyError(RecordingError):
    """Another process is at work in the same folder."""

    def __init__(self) -> None:
        super().__init__("another `rtloop recover` is at work on it. Look again when it has ended")


def user_name(uid: int) -> str:
    """The name of a user, or its number when it has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def printable(name: object) -> str:
    """A name for a terminal: who may choose it might have put control characters into it."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def make_private_directory(
    path: Path, group: str | None = None, *, exclusively: bool = False
) -> None:
    """Makes a folder that only the caller, and ``group``, may look into; its parents are ordinary.

    One that exists is taken as it is if it is the caller's own, but not ``exclusively``, which
    raises FileExistsError. Raises RecordingError, OSError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file, or a link to nothing: FileExistsError is for ``path`` alone
        raise NotADirectoryError(
            errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)
        ) from None
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if exclusively:
            raise
        os.close(_open_directory(path))
        return
    try:
        descriptor = _open_directory(path)
        try:
            # A parent may have handed down the bit by which files are shared with its group.
            os.fchmod(descriptor, 0o700)
            if group is not None:
                _share_with(descriptor, group)
        finally:
            os.close(descriptor)
    except BaseException:  # no such group; a umask that forbids even the owner
        with suppress(OSError):
            path.rmdir()
        raise


def _share_with(descriptor: int, group: str) -> None:
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        raise UnknownGroupError(f"there is no group '{group}' on this machine") from None
    try:
        os.fchown(descriptor, -1, number)
    except PermissionError:
        raise UnknownGroupError(
            f"you are not in the group '{group}', so nothing can be shared with it"
        ) from None
    os.fchmod(descriptor, 0o2750)


def file_mode(directory: Path) -> int:
    """The mode of a new file there: its folder says whether a group may read it."""
    shared = directory.stat().st_mode & _GROUP_READS == _GROUP_READS
    return _READ_BY_GROUP if shared else _READ_BY_OWNER


def new_file(path: Path) -> int:
    """A descriptor for writing a new file, never through a link. FileExistsError, OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _READ_BY_OWNER)
    try:
        mode = file_mode(path.parent)
        if mode != _READ_BY_OWNER:
            os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a private file, whole or not at all. Raises OSError."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with open(new_file(temporary), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_own_file(path: Path, most_bytes: int, *, shared: bool = False) -> bytes:
    """The content of a small file of the caller's own, or, with ``shared``, of root's.

    Raises RecordingError, OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        _check_file(path, os.fstat(descriptor), shared=shared)
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise RecordingError(f"{printable(path)} is longer than {most_bytes} bytes")
    return data


def check_own_file(path: Path) -> None:
    """RecordingError unless it is a file of the caller's own, and no link. Raises OSError."""
    _check_file(path, path.lstat())


def _check_file(path: Path, found: os.stat_result, *, shared: bool = False) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise RecordingError(f"{printable(path)} is a link: name the file itself")
    if not stat.S_ISREG(found.st_mode):
        raise RecordingError(f"{printable(path)} is not a file")
    if found.st_uid != os.geteuid() and not (shared and found.st_uid == 0):
        raise ForeignError(path, found.st_uid)


@contextmanager
def pinned(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """The caller's own folder, under a name that goes on to mean it whatever is renamed above.

    With ``shared`` a folder is accepted, too, in which nobody else can exchange the caller's files:
    one of root's, or one like /tmp. Raises RecordingError, OSError.
    """
    descriptor = _open_directory(path, shared=shared)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A folder for one process at a time. Raises BusyError while another has it, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError from None
        except OSError:
            pass  # not every file system can; the one of the rings, memory, can
        yield
    finally:
        os.close(descriptor)


def _open_directory(path: Path, *, shared: bool = False) -> int:
    try:
        if not shared and path.is_symlink():
            raise RecordingError(f"{printable(path)} is a link, and no folder: remove it")
        place = _walk(path)
    except NotADirectoryError:
        raise RecordingError(f"{printable(path)} is not a folder: remove it") from None
    try:
        _check_directory(path, os.fstat(place), shared=shared)
        # A place can be asked, and worked in, but its mode not be changed.
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _walk(path: Path) -> int:
    """A descriptor of a folder, reached step by step: only links of root's or the caller's lead on.

    Who owns a folder above may put a link in the place of anything below.
    """
    steps = deque(path.absolute().parts[1:])
    root = "/"
    if tuple(steps)[:3] == ("proc", "self", "fd"):  # pinned: its number stands for a folder
        root = os.path.join("/", *(steps.popleft() for _ in range(4)))
    here = os.open(root, _PLACE)
    try:
        links = 0
        while steps:
            step = steps.popleft()
            found = os.stat(step, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                here = _next(here, os.open(step, _PLACE | os.O_NOFOLLOW, dir_fd=here))
                continue
            links += 1
            if found.st_uid not in (0, os.geteuid()):
                raise ForeignError(path, found.st_uid)
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = os.readlink(step, dir_fd=here)
            if target.startswith("/"):
                here = _next(here, os.open("/", _PLACE))
            steps.extendleft(reversed([part for part in target.split("/") if part]))
    except BaseException:
        os.close(here)
        raise
    return here


def _next(before: int, after: int) -> int:
    os.close(before)
    return after


def _check_directory(path: Path, found: os.stat_result, *, shared: bool) -> None:
    if found.st_uid != os.geteuid() and not (shared and found.st_uid == 0):
        raise ForeignError(path, found.st_uid)
    if found.st_mode & _ANYBODY_WRITES and not (shared and found.st_mode & stat.S_ISVTX):
        raise RecordingError(
            f"anybody may write in {printable(path)}, so nothing in it can be believed: "
            f"look at what is there, then `chmod o-w {quote(printable(path))}`"
        )
