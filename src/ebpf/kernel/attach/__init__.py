"""Attaching loaded programs: one module for each hook, each with an ``attach`` that returns a `KernelLink`."""

from __future__ import annotations

from ebpf.kernel.attach.link import KernelLink, LinkGroup, iter_links, link_info, open_link_by_id, open_pinned_link

__all__ = ["KernelLink", "LinkGroup", "iter_links", "link_info", "open_link_by_id", "open_pinned_link"]
