"""Flame graphs: where time (or anything that is counted by stack) goes, as one self-contained SVG or HTML page.

A frame is as wide as its share of the whole; what it called lies above it. A click in the page makes a frame fill the
width, the search box marks frames and says what share they have. Nothing is loaded from anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

WIDTH = 1200  # units of the view box; the picture scales to the page
_ROW = 17
_CHARACTER = 6.6  # width of one, in a monospace font of 11
_NARROWEST = 0.25  # frames below that would be drawn over each other
_PALETTES = {
    # kind of frame: (hue from, hue to, saturation, lightness)
    "user": (18, 48, 85, 62), "kernel": (2, 16, 75, 66), "python": (205, 225, 65, 70), "inlined": (165, 185, 45, 65),
}


class Frame(NamedTuple):
    """One box: where it begins and how wide it is, in counts; ``depth`` 0 is the root."""

    name: str
    depth: int
    start: int
    count: int  # type: ignore[assignment]  # nobody calls tuple.count here
    kind: str


class _Node:
    __slots__ = ("children", "count", "kind", "name")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.count = 0
        self.children: dict[str, _Node] = {}


class FlameGraph:
    """Counts by stack, merged into a tree::

        graph = ebpf.FlameGraph({("main", "parse", "read"): 12, ("main", "draw"): 30}, title="where it waits")
        graph.to_html("waits.html")

    ``stacks``: a mapping from stacks to counts, or pairs of them, the outermost function first. A frame is a name; a
    name that ends in ``_[k]`` (kernel), ``_[p]`` (Python) or ``_[i]`` (inlined) is drawn in that colour and without the
    ending. ``unit`` is what was counted (``"samples"``, ``"µs"``). A notebook shows it by itself.
    """

    __slots__ = ("_root", "title", "unit")

    def __init__(self, stacks: Mapping[Sequence[str], int] | Iterable[tuple[Sequence[str], int]] = (), *,
                 title: str = "", unit: str = "samples") -> None:
        self.title = title
        self.unit = unit
        self._root = _Node("all", "user")
        pairs: Iterable[tuple[Sequence[str], int]] = stacks.items() if hasattr(stacks, "items") else stacks
        for stack, count in pairs:
            self.add(stack, count)

    @classmethod
    def from_folded(cls, text: str, *, title: str = "", unit: str = "samples") -> FlameGraph:
        """From lines as `folded` writes them: ``main;parse;read 12``."""
        from ebpf.errors import UsageError

        graph = cls(title=title, unit=unit)
        for number, line in enumerate(text.splitlines(), 1):
            stack, _, count = line.strip().rpartition(" ")
            if not line.strip():
                continue
            if not stack or not count.isdigit():
                raise UsageError(f"line {number} is no folded stack: {line!r}", helps=("main;parse;read 12",))
            graph.add(stack.split(";"), int(count))
        return graph

    def add(self, stack: Sequence[str], count: int = 1) -> None:
        """Count one more stack, the outermost function first. Counts are not negative (`UsageError`)."""
        if count < 0:
            from ebpf.errors import UsageError

            raise UsageError(f"a stack cannot have been seen {count} times")
        if isinstance(stack, str):
            stack = stack.split(";")
        node = self._root
        node.count += count
        for written in stack:
            name = str(written)
            child = node.children.get(name)
            if child is None:
                shown, kind = _kind_of(name)
                child = node.children[name] = _Node(shown, kind)
            child.count += count
            node = child

    @property
    def total(self) -> int:
        """What all stacks count together."""
        return self._root.count

    def __len__(self) -> int:
        return sum(1 for _ in self.frames()) - 1

    def __bool__(self) -> bool:
        return self.total > 0

    def __repr__(self) -> str:
        return f"<FlameGraph{f' {self.title!r}' * bool(self.title)}: {self.total} {self.unit}, {len(self)} frames>"

    def frames(self) -> Iterator[Frame]:
        """Every box, the root first, then from left to right (by name)."""
        waiting: list[tuple[_Node, int, int]] = [(self._root, 0, 0)]
        while waiting:
            node, depth, start = waiting.pop()
            yield Frame(node.name, depth, start, node.count, node.kind)
            inner = []
            for key in sorted(node.children):
                child = node.children[key]
                inner.append((child, depth + 1, start))
                start += child.count
            waiting.extend(reversed(inner))

    def folded(self) -> str:
        """One line for each stack: ``main;parse;read 12``, as other tools read it."""
        lines: list[str] = []

        waiting: list[tuple[_Node, tuple[str, ...]]] = [(self._root, ())]
        while waiting:
            node, path = waiting.pop()
            own = node.count - sum(child.count for child in node.children.values())
            if own and path:
                lines.append(f"{';'.join(path)} {own}")
            waiting.extend((node.children[key], (*path, key.replace(";", ":")))
                           for key in sorted(node.children, reverse=True))
        return "".join(line + "\n" for line in lines)

    # ---- pictures ----

    def to_svg(self) -> str:
        """The picture as one SVG element, that also stands for itself in a file; each frame tells its share when
        pointed at.
        """
        from html import escape

        shown = [f for f in self.frames() if self.total and f.count * WIDTH / self.total >= _NARROWEST]
        rows = max((f.depth for f in shown), default=0) + 1
        height = rows * _ROW + 2
        boxes = []
        for frame in shown:
            x, width = frame.start * WIDTH / self.total, frame.count * WIDTH / self.total
            y = height - (frame.depth + 1) * _ROW - 1
            name = escape(frame.name)
            share = f"{frame.count} {self.unit}, {100 * frame.count / self.total:.2f} %"
            boxes.append(
                f'<g data-x="{x:.2f}" data-w="{width:.2f}" data-d="{frame.depth}" data-n="{name}">'
                f"<title>{name}: {escape(share)}</title>"
                f'<rect x="{x:.2f}" y="{y}" width="{max(width - 0.4, 0.2):.2f}" height="{_ROW - 1}" rx="2" '
                f'fill="{_colour(frame)}"/>'
                f'<text x="{x + 3:.2f}" y="{y + 12}">{escape(_fitting(frame.name, width))}</text></g>\n')
        heading = f"<title>{escape(self.title)}</title>" if self.title else ""
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" '
                f'font-family="ui-monospace, monospace" font-size="11" class="ebpf-flame">{heading}\n'
                f'{"".join(boxes)}</svg>')

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """A whole page, written to ``path`` if there is one: click to zoom, search by regular expression."""
        from html import escape

        title = escape(self.title or "Flame graph")
        page = ("<!DOCTYPE html>\n<html><head><meta charset='utf-8'>"
                f"<title>{title}</title></head>\n<body>{self._repr_html_()}</body></html>\n")
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(page)
        return page

    def _repr_html_(self) -> str:
        from html import escape

        title = f"<b>{escape(self.title)}</b> " if self.title else ""
        return (f"<div class='ebpf-flame-box' style='font:13px system-ui,sans-serif'><div>{title}"
                f"<span>{self.total} {escape(self.unit)}</span> "
                "<input type='search' placeholder='search' style='margin-left:1em'> <output></output></div>\n"
                f"{self.to_svg()}\n<script>{_SCRIPT}</script></div>")


def _kind_of(name: str) -> tuple[str, str]:
    for ending, kind in (("_[k]", "kernel"), ("_[p]", "python"), ("_[i]", "inlined")):
        if name.endswith(ending):
            return name.removesuffix(ending), kind
    return name, "user"


def _fitting(name: str, width: float) -> str:
    room = int((width - 6) / _CHARACTER)
    return name if len(name) <= room else name[:room - 1] + "…" if room > 3 else ""


def _colour(frame: Frame) -> str:
    """One name has one colour, in every picture."""
    from zlib import crc32

    first, last, saturation, lightness = _PALETTES[frame.kind]
    mixed = crc32(frame.name.encode("utf-8", "replace"))
    return f"hsl({first + mixed % (last - first)} {saturation}% {lightness - 6 + (mixed >> 8) % 12}%)"


_SCRIPT = """
(() => {
  const box = document.currentScript.parentElement, svg = box.querySelector('svg');
  const input = box.querySelector('input'), told = box.querySelector('output');
  const frames = [...svg.querySelectorAll('g')].map(g => ({
    g, rect: g.querySelector('rect'), text: g.querySelector('text'), name: g.dataset.n,
    x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d, fill: g.querySelector('rect').getAttribute('fill')}));
  const full = frames.length ? frames[0].w : 1;
  function zoom(on) {
    for (const f of frames) {
      const above = f.d < on.d && f.x <= on.x + 0.01 && f.x + f.w >= on.x + on.w - 0.01;
      const inside = f.d >= on.d && f.x >= on.x - 0.01 && f.x + f.w <= on.x + on.w + 0.01;
      f.g.style.display = above || inside ? '' : 'none';
      if (!above && !inside) continue;
      const x = above ? 0 : (f.x - on.x) / on.w * full, w = above ? full : f.w / on.w * full;
      const room = Math.floor((w - 6) / 6.6);
      f.rect.setAttribute('x', x);
      f.rect.setAttribute('width', Math.max(w - 0.4, 0.2));
      f.rect.setAttribute('opacity', above ? 0.5 : 1);
      f.text.setAttribute('x', x + 3);
      f.text.textContent = f.name.length <= room ? f.name : room > 3 ? f.name.slice(0, room - 1) + '\\u2026' : '';
    }
  }
  for (const f of frames) { f.g.style.cursor = 'pointer'; f.g.addEventListener('click', () => zoom(f)); }
  input.addEventListener('input', () => {
    let wanted = null;
    try {
      wanted = input.value ? new RegExp(input.value, 'i') : null;
    } catch (e) {
      told.textContent = 'no pattern';
      return;
    }
    let covered = 0, end = -1;
    for (const f of [...frames].sort((a, b) => a.x - b.x || b.w - a.w)) {
      const hit = wanted && wanted.test(f.name);
      f.rect.setAttribute('fill', hit ? '#b04ae0' : f.fill);
      if (hit && f.x + f.w > end + 0.005) { covered += f.x + f.w - Math.max(end, f.x); end = f.x + f.w; }
    }
    told.textContent = wanted ? (100 * covered / full).toFixed(2) + ' %' : '';
  });
})();
"""
