"""Hello world up to the loaded program: what start-up means here. Runs under BCC and under us alike."""

from bcc import BPF

b = BPF(text='int my_prog(void *ctx) { bpf_trace_printk("Hello world\\n"); return 0; }')
b.load_func("my_prog", BPF.KPROBE)
