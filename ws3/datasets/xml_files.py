"""XML from outside, without entities, in any encoding that Python decodes."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree.ElementTree import Element

from ws3.errors import Ws3Error
from ws3.messages import reason, shown
from ws3.outside import read_regular

_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"'][^>]*\?>")
_OWN = {"utf-8", "utf-16", "ascii", "iso8859-1"}  # what expat decodes itself
# What tools declare is less than what they write, as every browser knows.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
# Forms of writing within other text: markup could hide in them.
_NOT_OF_FILES = {"utf-7", "idna", "punycode", "unicode-escape", "raw-unicode-escape"}


def parse_xml(path: str | Path, limit: int, expected: str = "an annotation") -> Element:
    """Return the root element of an XML file.

    Args:
        path: The file.
        limit: Most bytes that are read.
        expected: What should be there, for the error message.

    Raises:
        Ws3Error: If it is missing, too large, no valid XML, or has a DOCTYPE.
    """
    # Imported here: most dry runs take the labels from the index.
    from defusedxml import DTDForbidden, ElementTree

    try:
        data = read_regular(path, limit)
        root: Element = ElementTree.fromstring(_decoded(data), forbid_dtd=True)
    except FileNotFoundError as error:
        raise Ws3Error(f"{path}: no such file; {expected} is expected here") from error
    except OSError as error:
        raise Ws3Error(f"{path}: {reason(error)}; {expected} is expected here") from error
    except DTDForbidden as error:
        # Entities are what makes XML from strangers dangerous, and annotations have none.
        raise Ws3Error(f"{path}: has a DOCTYPE, which annotations never have; remove it") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise Ws3Error(
            f"{path}: no valid XML ({reason(error)}); replace it, or save it as UTF-8"
        ) from error
    return root


def object_names(annotation: Element) -> list[str]:
    """Return the text of every object/name of VOC's XML; none if it is another tool's.

    Args:
        annotation: The root element.
    """
    names = annotation.findall("object/name") if annotation.tag == "annotation" else []
    return [(name.text or "").strip() for name in names]


def _decoded(data: bytes) -> bytes | str:
    """Return text where the declared encoding is one that expat can't decode."""
    declared = _DECLARATION.match(data)
    if declared is None:
        return data
    name = declared[1].decode("ascii")
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        raise ValueError(f"unknown encoding {shown(name)}") from None
    if encoding in _OWN:
        return data
    if encoding in _NOT_OF_FILES or not getattr(codecs.lookup(name), "_is_text_encoding", True):
        raise ValueError(f"the encoding {shown(name)} isn't read")
    return data[declared.end() :].decode(_WIDER.get(encoding, encoding))
