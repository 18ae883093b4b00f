"""How programs say that a size or an index does not fit into 32 bits."""

from __future__ import annotations

_LIMIT = (
    r"\(?(?:U?INT(?:32)?_MAX|u?int(?:32)?_max|max_int|k?[iI]nt32[mM]ax|2(?:\*\*|\^)31\b"
    r"|(?<!\d)(?:214748364[78]|429496729[56])(?!\d))"
)
"""The largest number of 32 bits as programs write it, signed or not, or the first beyond it."""

_TYPE = r"(?:u?int32(?:_t)?|32[- ]bit|int(?=\W*$))(?!\w)"

_COMPARED = (
    r"(?:[<>]=?|\b(?:than|at most|beyond|above|over|within|exceed\w*|limit(?:ed)?|max(?:imum)?)\b)"
    rf"(?:,? \w+){{0,3}}:? ?{_LIMIT}"
    r"|> ?2\*\*32\b"
    r"|numeric_limits<u?int(?:32_t)?>::max"
    r"|canUse32BitIndexMath.*got false"
)
"""The limit, and the size that had to stay below it."""

_TOO_LARGE = (
    r"\b(?:fit\w*|exceed\w*|overflow\w*|too (?:large|many)|beyond|maximum value of)\b"
    rf"[^\n]{{0,40}}?\b{_TYPE}|(?:larg|great)er than (?:\w+ ){{0,2}}{_TYPE}"
    r"|(?:[Rr]equires?|[Oo]nly supports?).{0,40}\b32[- ]bit (?:index|addr|offset)"
    r"|\b32[- ]bit (?:index\w*|addressing|offset\w*|(?:signed )?int\w*) .{0,40}(?:exceed|overflow|limit"
    r"|too large)"
    r"|\b32[- ]bit\b.{0,40}?\b(?:but|got) (?:\w+ ){0,3}(?:is )?\d{10,}"
    r"|representable by 32-bit|too large to be indexed|\buse int64 ind"
    # MKL, and THC's copy of a tensor.
    r"|too large to fit into an? \w*INT\b|[Tt]ensor sizes too large for "
)
"""A size, and the type that cannot hold it."""

_CONVERTED = (
    r"[Ss]calar (?P<value>-?\d+) is out of range for type int32|out of (?:bounds|range) for int32"
    r"|cannot be converted to type int32|converted to type int(?:32_t)? without overflow"
    r"|Python int too large to convert to C (?:int|long)\b|too large to convert to int"
    r"|signed integer is (?:greater than max|less than min)imum|^RuntimeError: integer out of range$"
)
"""A number that should have become one of 32 bits."""

_OVERFLOWED = (
    r"int32(?:_t)? (?:index )?overflow|\b[Oo]ffset overflow\b|[Ii]nteger overflow"
    r"|int32(?:_t)? (?:range|limit|max)"
)

_WRAPPED = (
    r"index (?P<index>-[12]\d{9}) is out of (?:bounds|range)|negative dimension -[12]\d{9}"
    r"|but got N=-\d{9}|(?<!\d)-?2147483648\b"
    r"|\b(?:sizes?|dim\w*|shape|ind(?:ex|ices)|offset|numel|length|stride|count|elements|bytes)\b"
    r"[^\n]{0,30}?[ (\[=,]-(?:1\d{9}|2[01]\d{8})\b"
    r"|\b1844674407[12]\d{9}\b"
)
"""What such a size has become: negative, or negative and then read as 64 bits without a sign."""

PATTERN = f"{_COMPARED}|{_TOO_LARGE}|{_CONVERTED}|{_OVERFLOWED}|{_WRAPPED}"

NEEDLES = (
    *(
        "int32",
        "Int32",
        "INT32_MAX",
        "INT_MAX",
        "int_max",
        "max_int",
        "type int",
        "numeric_limits<",
    ),
    *("32BitIndexMath", "32-bit", "32 bit", "2^31", "2**31", "2**32", "214748364", "429496729"),
    *("to C int", "to C long", "convert to int", "value of int", "int64 ind", "fit into a"),
    *("eger overflow", "ffset overflow", "eger out of range", "greater than maximum"),
    *("less than minimum", "too large for", "too large to be indexed", "negative dimension"),
    *("but got N=-", "1844674407"),
    *("-1", "-2"),
)
"""Every line that matches holds one of these."""
