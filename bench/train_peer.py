#!/usr/bin/env python3
"""PyTorch's side of brisk_bench_train on one GPU: the same networks, batches and optimizers.

train_peer.py [--eager] NAME…   gpt2 (B32 T1024, AdamW), resnet50 (B256, SGD), attention (its
gradients alone, the shapes of brisk_bench_train attention); bfloat16 by autocast,
torch.compile unless --eager. For each: seconds to the end of the first step, median milliseconds of
the next ones, tokens or images a second, peak memory.
"""
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in self.c_attn(self.ln_1(x)).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = x + self.attn_proj(mixed.transpose(1, 2).flatten(2))
        return y + self.c_proj(F.gelu(self.c_fc(self.ln_2(y)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(50304, 768), nn.Embedding(1024, 768)
        self.h = nn.ModuleList([Block(768, 12) for _ in range(12)])
        self.ln_f = nn.LayerNorm(768)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.02)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def gpt2():
    net = Gpt2().cuda()
    batch = [torch.randint(0, 50257, (32, 1024), device="cuda") for _ in range(2)]
    rule = torch.optim.AdamW(net.parameters(), lr=3e-4, weight_decay=0.1, fused=True)
    return net, batch, rule, 32 * 1024, "tokens"


def resnet50():
    import torchvision
    net = torchvision.models.resnet50().cuda().to(memory_format=torch.channels_last)
    x = torch.rand(256, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last)
    batch = [x, torch.randint(0, 1000, (256,), device="cuda")]
    rule = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    return net, batch, rule, 256, "images"


def measure(name, eager):
    start = time.perf_counter()
    net, (x, y), rule, count, unit = {"gpt2": gpt2, "resnet50": resnet50}[name]()

    def loss_of(x, y):
        with torch.autocast("cuda", torch.bfloat16):
            scores = net(x)
            return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), y.flatten())

    loss_fn = loss_of if eager else torch.compile(loss_of)

    def step():
        loss = loss_fn(x, y)
        loss.backward()
        rule.step()
        rule.zero_grad(set_to_none=True)
        return loss.item()

    step()
    first = time.perf_counter() - start
    for _ in range(3):
        step()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    median = statistics.median(times)
    print(f"PyTorch {name}: first step {first:.2f} s, {median * 1e3:.2f} ms a step, "
          f"{count / median:,.0f} {unit}/s, "
          f"peak {torch.cuda.max_memory_allocated() / 1e9:.1f} GB", flush=True)


def attention():
    for b, h, s, d, causal in [(4, 32, 4096, 128, True), (4, 32, 4096, 128, False),
                               (2, 16, 16384, 128, True), (8, 32, 2048, 64, True)]:
        q, k, v = (torch.randn(b, h, s, d, device="cuda", dtype=torch.bfloat16, requires_grad=True)
                   for _ in range(3))
        g = torch.randn_like(q)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        times = []
        for _ in range(12):
            torch.cuda.synchronize()
            start = time.perf_counter()
            torch.autograd.grad(y, (q, k, v), g, retain_graph=True)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        took = statistics.median(times[2:])
        work = 10 * b * h * s * s * d * (0.5 if causal else 1)
        print(f"PyTorch attention, gradients, B{b} H{h} S{s} D{d} "
              f"{'causal' if causal else 'full'}: {took * 1e3:.3f} ms, "
              f"{work / took / 1e12:.0f} TFLOP/s", flush=True)


torch.set_float32_matmul_precision("high")
names = [name for name in sys.argv[1:] if name != "--eager"]
for name in names or ["gpt2", "resnet50", "attention"]:
    attention() if name == "attention" else measure(name, "--eager" in sys.argv)
