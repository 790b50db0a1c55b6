"""Names that try to be more than text, and what a page is made of."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "</title><img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "x onclick=alert(1) y",
    "`onload=alert(1)`",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "http://example.com/?a=1&b=2",
    "<a href=javascript:alert(1)>here</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    '<meta http-equiv="refresh" content="0;url=http://example.com">',
    '<base href="http://example.com/">',
    '<link rel="stylesheet" href="http://example.com/x.css">',
    "<form action=http://example.com><input name=x></form>",
    "<!-- a comment",
    "--><script>alert(1)</script>",
    "<![CDATA[ <script>alert(1)</script> ]]>",
    "<?php echo 1 ?>",
    "<svg><foreignObject><p>x</p></foreignObject></svg>",
    "<math><mtext><script>alert(1)</script></mtext></math>",
    "</svg></table></section></main><h1>mine</h1>",
    "<plaintext>",
    "&lt;b&gt; &amp;amp; &#60;b&#62;",
    "&#x3c;script&#x3e;",
    "{{ 7 * 7 }} {% for x in y %} {# z #}",
    "a\x00b<\x00script>",
    "one\u202etwo\u2066three\u200f",
    "\u200b\ufeff\u00ad<b>",
    "\ud800 half a pair \udfff",
    "\uffff \ufdd0 \x1b[31m \x85 \x7f",
    "＜script＞alert(1)＜/script＞",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "$(touch x) `touch y` | a || b \\ \\| c",
    "**bold** _it_ [x](javascript:alert(1)) ![y](http://example.com/y.png)",
    "two\nlines\r\n| --- |\n# three",
)


class Skeleton(HTMLParser):
    """The elements of a page with the names of their attributes, and the values of those that a browser would follow."""

    FOLLOWED = ("href", "src", "http-equiv", "content", "action", "id", "class", "role", "for", "type")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.attributes: dict[str, set[str]] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        followed = [f"{name}={value}" for name, value in attrs if name in self.FOLLOWED]
        self.parts.append(("start", tag, *sorted(name for name, _ in attrs), *followed))
        self.attributes.setdefault(tag, set()).update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(("end", tag))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.parts.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.parts.append(("declaration", decl))

    def unknown_decl(self, data: str) -> None:
        self.parts.append(("declaration", data))

    def handle_pi(self, data: str) -> None:
        self.parts.append(("instruction", data))
