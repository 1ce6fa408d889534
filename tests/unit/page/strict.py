"""Reads a page as strictly as no browser does: what is left open, foreign or no XML is an error."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

_VOID = {"meta", "br", "hr", "img", "input", "link"}
_LEADS_AWAY = {"src", "href", "xlink:href", "action", "srcset", "data", "poster", "background", "formaction"}
_FOREIGN = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "use"}


class Strict(HTMLParser):
    """Feeds on a page; ``wrong`` is what it objects to, ``text`` what a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self._said: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.text = "".join(self._said)
        self.wrong += [f"{tag} is never closed" for tag in self._open]
        self.svgs = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        for svg in self.svgs:
            try:
                ElementTree.fromstring(svg)
            except ElementTree.ParseError as error:
                self.wrong.append(f"an SVG is no XML: {error}")
        style = "".join(re.findall(r"<style>.*?</style>", page, re.DOTALL))
        if re.search(r"url\(|@import|https?:", style):
            self.wrong.append("the style leads away")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _FOREIGN:
            self.wrong.append(f"there is a {tag}")
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.wrong.append(f"{tag} has an attribute twice")
        for name in names:
            if name in _LEADS_AWAY or name.startswith("on"):
                self.wrong.append(f"{tag} has {name}")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"{tag} is closed where it is not open")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._said.append(data)
