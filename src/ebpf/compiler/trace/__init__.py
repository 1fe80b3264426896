"""The tracing language: bpftrace's scripts to a BPF object that carries its own plan (`plan.Plan`).

`compile_trace` compiles, `compile_trace_cached` asks the cache first and then imports none of the compiler.
"""
