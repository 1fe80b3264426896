"""Settings: from ``config = { … }`` of the script, else ``BPFTRACE_*`` of the environment (the caller's), else the
default.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# name → default; a type for those without.
DEFAULTS: dict[str, int | str | bool] = {
    "max_strlen": 64,
    "max_map_keys": 4096,
    "max_probes": 1024,
    "max_bpf_progs": 1024,
    "max_cat_bytes": 10240,
    "log_size": 1000000,
    "perf_rb_pages": 64,
    "stack_mode": "bpftrace",
    "str_trunc_trailer": "..",
    "missing_probes": "warn",
    "print_maps_on_exit": True,
    "on_stack_limit": 32,
    "cache_user_symbols": "PER_PID",
    "lazy_symbolication": True,
    "cpp_demangle": True,
    "use_blazesym": True,
    "show_debug_info": True,
    "unstable_import": True,
    "unstable_map_decl": True,
    "unstable_macro": True,
    "unstable_tseries": True,
    "unstable_addr": True,
    "license": "GPL",
}
CHOICES: dict[str, tuple[str, ...]] = {
    "stack_mode": ("bpftrace", "perf", "raw", "build_id"),
    "missing_probes": ("error", "warn", "ignore"),
    "cache_user_symbols": ("PER_PID", "PER_PROGRAM", "NONE"),
}
# Other spellings in the environment: 0.17's.
_OLD_NAMES = {
    "BPFTRACE_STRLEN": "max_strlen",
    "BPFTRACE_MAP_KEYS_MAX": "max_map_keys",
    "BPFTRACE_CAT_BYTES_MAX": "max_cat_bytes",
    "BPFTRACE_NO_CPP_DEMANGLE": "cpp_demangle",
}


class Config:
    """Settings as attributes; ``values`` are those that differ from the default or were given."""

    max_strlen: int
    max_map_keys: int
    max_probes: int
    max_cat_bytes: int
    perf_rb_pages: int
    stack_mode: str
    license: str

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.values: dict[str, int | str | bool] = dict(DEFAULTS)
        for variable, text in environment.items():
            name = setting_of(variable)
            if name is None:
                continue
            value = parse_setting(name, text)
            if value is not None:
                self.values[name] = (not value) if variable == "BPFTRACE_NO_CPP_DEMANGLE" else value

    def __getattr__(self, name: str) -> int | str | bool:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


def setting_of(variable: str) -> str | None:
    """The setting that an environment variable is for."""
    if variable in _OLD_NAMES:
        return _OLD_NAMES[variable]
    if variable.startswith("BPFTRACE_"):
        name = variable[len("BPFTRACE_") :].lower()
        return name if name in DEFAULTS else None
    return None


def parse_setting(name: str, text: str) -> int | str | bool | None:
    """A setting's value from text; None where it cannot have that value."""
    default = DEFAULTS[name]
    if isinstance(default, bool):
        return {"1": True, "true": True, "0": False, "false": False}.get(text.lower())
    if isinstance(default, int):
        try:
            value = int(text, 0)
        except ValueError:
            return None
        return value if value > 0 else None
    choices = CHOICES.get(name)
    if choices is not None:
        return next((c for c in choices if c.lower() == text.lower()), None)
    return text
