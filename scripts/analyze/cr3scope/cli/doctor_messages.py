"""The words of exceptions that Python and numpy raise, as far as they are known: what such a message quotes is left out."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Sequence

from cr3scope.cli.left_out import LEFT_OUT, told_name

_ANY, _NAME = "{}", "{name}"
_HOLE = re.compile(r"\{(?:name)?\}")

# A {} may be anything and is never told, not even a number; a {name} is told if it is a word of the code. Of those that fit the longest is taken.
_MESSAGES = (
    # names and calls
    "'{name}' object has no attribute '{name}'",
    "type object '{name}' has no attribute '{name}'",
    "module '{name}' has no attribute '{name}'",
    "'{name}' object does not support item assignment",
    "'{name}' object cannot be interpreted as an integer",
    "'{name}' object is not {name}",
    "argument of type '{name}' is not iterable",
    "argument of type '{name}' is not a container or iterable",
    "object of type '{name}' has no len()",
    "cannot unpack non-iterable {name} object",
    "unhashable type: '{name}'",
    "cannot use '{name}' as a dict key (unhashable type: '{name}')",
    "cannot use '{name}' as a set element (unhashable type: '{name}')",
    "unsupported operand type(s) for {}: '{name}' and '{name}'",
    "bad operand type for unary {}: '{name}'",
    "'{}' not supported between instances of '{name}' and '{name}'",
    'can only concatenate {name} (not "{name}") to {name}',
    "can't concat {name} to {name}",
    "a bytes-like object is required, not '{name}'",
    "{name} indices must be integers or slices, not {name}",
    "{name}() argument must be a string, a bytes-like object or a real number, not '{name}'",
    "{name}() got an unexpected keyword argument '{name}'",
    "{name}() missing {} required positional argument: '{name}'",
    "{name}() missing {} required positional arguments: {}",
    "{name}() missing {} required keyword-only argument: '{name}'",
    "{name}() missing {} required keyword-only arguments: {}",
    "{name}() takes {} positional argument but {} were given",
    "{name}() takes {} positional arguments but {} were given",
    "{name}() takes {} positional arguments but {} was given",
    "name '{name}' is not defined",
    "local variable '{name}' referenced before assignment",
    "cannot access local variable '{name}' where it is not associated with a value",
    "cannot access free variable '{name}' where it is not associated with a value in enclosing scope",
    "cannot assign to field '{name}'",
    "No module named '{name}'",
    "cannot import name '{name}' from '{name}' ({})",
    "{} is not a valid {name}",
    # containers
    "{name} index out of range",
    "{name} assignment index out of range",
    "pop from empty list",
    "pop from an empty {name}",
    "pop index out of range",
    "not enough values to unpack (expected {}, got {})",
    "too many values to unpack (expected {})",
    "too many values to unpack (expected {}, got {})",
    "{name}() arg is an empty sequence",
    "{name}() iterable argument is empty",
    "dictionary changed size during iteration",
    "Set changed size during iteration",
    "deque mutated during iteration",
    "list.index(x): x not in list",
    "list.remove(x): x not in list",
    "tuple.index(x): x not in tuple",
    "{} is not in list",
    "substring not found",
    "subsection not found",
    # numbers
    "division by zero",
    "float division by zero",
    "integer division or modulo by zero",
    "integer modulo by zero",
    "negative shift count",
    "invalid literal for int() with base {}: {}",
    "could not convert string to float: {}",
    "Exceeds the limit ({} digits) for integer string conversion: value has {} digits; use sys.set_int_max_str_digits() to increase the limit",
    "Exceeds the limit ({} digits) for integer string conversion; use sys.set_int_max_str_digits() to increase the limit",
    "cannot convert float infinity to integer",
    "cannot convert float NaN to integer",
    "int too large to convert to float",
    "int too big to convert",
    "can't convert negative int to unsigned",
    "Python int too large to convert to C {name}",
    "cannot fit 'int' into an index-sized integer",
    "math domain error",
    "math range error",
    # bytes and text
    "unpack requires a buffer of {} bytes",
    "unpack_from requires a buffer of at least {} bytes for unpacking {} bytes at offset {} (actual buffer size is {})",
    "offset {} out of range for {}-byte buffer",
    "'{}' format requires {} <= number <= {}",
    "required argument is not an integer",
    "argument out of range",
    "byte must be in range(0, 256)",
    "bytes must be in range(0, 256)",
    "chr() arg not in range(0x110000)",
    "non-hexadecimal number found in fromhex() arg at position {}",
    "embedded null byte",
    "embedded null character",
    "'{name}' codec can't decode byte {} in position {}: invalid start byte",
    "'{name}' codec can't decode byte {} in position {}: invalid continuation byte",
    "'{name}' codec can't decode byte {} in position {}: unexpected end of data",
    "'{name}' codec can't decode byte {} in position {}: ordinal not in range(128)",
    "'{name}' codec can't decode {}",
    "'{name}' codec can't encode character {} in position {}: surrogates not allowed",
    "'{name}' codec can't encode character {} in position {}: ordinal not in range({})",
    "'{name}' codec can't encode {}",
    "Expecting value: line {} column {} (char {})",
    "Extra data: line {} column {} (char {})",
    "Expecting property name enclosed in double quotes: line {} column {} (char {})",
    "Illegal trailing comma before end of {}: line {} column {} (char {})",
    "Expecting ',' delimiter: line {} column {} (char {})",
    "Expecting ':' delimiter: line {} column {} (char {})",
    "Unterminated string starting at: line {} column {} (char {})",
    "Invalid control character at: line {} column {} (char {})",
    "Invalid \\escape: line {} column {} (char {})",
    "Invalid \\uXXXX escape: line {} column {} (char {})",
    # files and the machine
    "I/O operation on closed file.",
    "seek of closed file",
    "read of closed file",
    "write to closed file",
    "negative seek value {}",
    "cannot mmap an empty file",
    "mmap length is greater than file size",
    "mmap offset is greater than file size",
    "can't start new thread",
    "maximum recursion depth exceeded{}",
    # numpy
    "index {} is out of bounds for axis {} with size {}",
    "too many indices for array: array is {}-dimensional, but {} were indexed",
    "operands could not be broadcast together with shapes {}",
    "could not broadcast input array from shape {} into shape {}",
    "cannot reshape array of size {} into shape {}",
    "buffer size must be a multiple of element size",
    "buffer is smaller than requested size",
    "offset must be non-negative and no greater than buffer length ({})",
    "zero-size array to reduction operation {name} which has no identity",
    "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()",
    "setting an array element with a sequence. {}",
    "only integer scalar arrays can be converted to a scalar index",
    "arrays used as indices must be of integer (or boolean) type",
    "Python integer {} out of bounds for {name}",
    "Unable to allocate {}",
    "all the input array dimensions{}",
    "need at least one array to concatenate",
    # a key that a dictionary lacks, if it is one of the code
    "'{name}'",
)
_LONGEST_FIRST = sorted(_MESSAGES, key=lambda message: -len(_HOLE.sub("", message)))


def told_message(error: BaseException, known: Collection[str]) -> str:
    """Return what an exception says, without all but its fixed words and the names that are ``known``; "" if it says nothing."""
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno in errno.errorcode:
        return f"{errno.errorcode[error.errno]}, {os.strerror(error.errno)}"
    try:
        said = str(error)
    except Exception:  # one whose own __str__ fails
        return LEFT_OUT
    fits = (told for told in (_told(said, message, known) for message in _LONGEST_FIRST) if told is not None)
    return next(fits, LEFT_OUT) if said else ""


def _told(said: str, message: str, known: Collection[str]) -> str | None:
    """What is said, if that is this message with its holes filled."""
    pieces = _HOLE.split(message)
    held = _between(said, pieces)
    if held is None:
        return None
    fills = (told_name(text, known) if hole == _NAME else LEFT_OUT if text else "" for hole, text in zip(_HOLE.findall(message), held))
    return pieces[0] + "".join(fill + piece for fill, piece in zip(fills, pieces[1:]))


def _between(text: str, pieces: Sequence[str]) -> list[str] | None:
    """What stands between the pieces, each taken at the first place where it is; None unless text begins and ends with the outer ones."""
    first, *inner = pieces
    if not inner:
        return [] if text == first else None
    *inner, last = inner
    end = len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last) or end < len(first):
        return None
    held, at = [], len(first)
    for piece in inner:
        found = text.find(piece, at, end)
        if found < 0:
            return None
        held.append(text[at:found])
        at = found + len(piece)
    return [*held, text[at:end]]
