"""Verified programs as native code of this machine.

======================  ==============================================================================================
`codegen`               LLVM in a process of its own that stays: IR text in, a relocatable ELF file of the host out
`elf`, `loader`         such a file, read strictly; put into executable memory, for as long as somebody uses it
`registers`             which registers hold a place in known memory (stack, context, packet, global variables)
`lifter`                a `Verified` → LLVM IR; `operations`, `accesses`, `calls` hold the instructions' rows
`block`                 what native code and Python share during a run
`space`                 `NativeSpace`: the address space of `ebpf.machine.memory` over real addresses
`program`               a program that runs natively: compiled or from the cache, upcalls to helpers, exceptions
`batch`                 the loop over many packets
======================  ==============================================================================================

Nothing that the verifier has not accepted becomes native code: `lifter.lift` takes a `Verified` and nothing else.
"""
