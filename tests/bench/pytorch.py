"""The model of a run.yaml in PyTorch, as somebody who knows PyTorch would train it on a CPU, beside `hanse train --local`.

Run by pytorch.sh, which says what it is for.  Same shapes, batch, optimizer kinds and data, f32, the same number of threads:
  - q, k, v in one product, gate and up in one; scaled_dot_product_attention; rms_norm; experts by index_select and index_add,
    each expert's rows in one product
  - Muon with all matrices of a shape in one batched Newton-Schulz, AdamW(fused) for the rest, NAdam(foreach) or AdamW(fused)
    for the experts
  - with and without torch.compile of everything but the routing; OpenMP's threads spinning or sleeping between operations
    (`passive`, which is faster where other programs want the cores)
The whole batch is one microbatch, which suits PyTorch best.  The variants are tried first; the best of them is what is compared.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings

import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")

N_WARM_UP = 5  # steps that are not measured
COMPILE_SECONDS = 10

DEFAULTS = {
    "model.width": 128, "model.layers": 4, "model.heads": 4, "model.context": 128, "model.rope_theta": 1e4, "model.experts": 8,
    "model.chosen": 2, "model.expert_hidden": 256, "model.shared_hidden": 128, "router.bias_rate": 0.001, "router.z_loss": 0.001,
    "trainer.batch": 16, "trainer.lr_muon": 0.03, "trainer.lr_adam": 0.006, "trainer.weight_decay": 0.01,
    "trainer.momentum": 0.95, "trainer.beta1": 0.9, "trainer.beta2": 0.99, "trainer.clip": 1, "trainer.warmup_steps": 50,
    "experts.lr": 0.003, "experts.beta1": 0.99, "experts.beta2": 0.9999, "experts.weight_decay": 0.01,
    "experts.warmup_updates": 50,
}


def read_run(path):
    """The keys of a run.yaml laid out as those in examples/ are: sections, and one `key: value` a line."""
    run, section = dict(DEFAULTS), ""
    for line in open(path):
        line = line.split("#")[0].rstrip()
        if not line:
            continue
        key, _, value = line.strip().partition(":")
        value = value.strip()
        if not value:
            section = key + "."
        elif value.startswith("["):
            run[section + key] = [int(x) for x in value.strip("[]").split(",") if x.strip()]
        elif line.startswith(" "):
            run[section + key] = float(value) if any(c in value for c in ".e") else value
            try:
                run[section + key] = int(value)
            except ValueError:
                pass
    width = run["model.width"]
    run.setdefault("model.hidden", (8 * width // 3 + 31) // 32 * 32)
    run.setdefault("model.latent", width)
    run.setdefault("model.moe_layers", list(range(1, run["model.layers"], 2)))
    if run["model.latent"] != width:
        sys.exit(f"{path}: model.latent differs from model.width, which this comparison does not build; leave it out")
    return run


def matrix(*shape, std):
    return torch.nn.Parameter(torch.randn(*shape) * std)


# ---- the model; functions of tensors alone, so that torch.compile sees no hole in them ----


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def attention(h, norm, qkv, q_gain, k_gain, o, cos, sin, n_heads):
    B, T, D = h.shape
    x = F.rms_norm(h, (D,), norm, 1e-6)
    q, k, v = (x @ qkv.view(3, D, D).transpose(0, 1).reshape(D, 3 * D)).view(B, T, 3, n_heads, D // n_heads).unbind(2)
    q = rotate(F.rms_norm(q, q.shape[-1:], q_gain, 1e-6).transpose(1, 2), cos, sin)
    k = rotate(F.rms_norm(k, k.shape[-1:], k_gain, 1e-6).transpose(1, 2), cos, sin)
    y = F.scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True)
    return h + y.transpose(1, 2).reshape(B, T, D) @ o


def swiglu(x, gate_up, down):
    gate, up = (x @ gate_up).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ down


def dense(h, norm, gate_up, down):
    return h + swiglu(F.rms_norm(h, h.shape[-1:], norm, 1e-6), gate_up, down)


def ask(h, norm, gate, bias, shared_gate_up, shared_down, n_chosen):
    """What a MoE layer does before its experts: shared expert, picks, weights, z-loss."""
    x = F.rms_norm(h, h.shape[-1:], norm, 1e-6).flatten(0, 1)
    logit = x @ gate
    score = torch.sigmoid(logit)
    pick = torch.topk(score.detach() + bias, n_chosen, dim=-1).indices
    weight = score.gather(1, pick)
    weight = weight / weight.sum(-1, keepdim=True)
    z = torch.logsumexp(logit, -1).square().mean()
    return h + swiglu(x, shared_gate_up, shared_down).view_as(h), x, pick, weight, z


def tell(h, norm, head, target):
    logits = F.rms_norm(h, h.shape[-1:], norm, 1e-6).flatten(0, 1) @ head
    return F.cross_entropy(logits, target)


class Layer(torch.nn.Module):
    def __init__(self, run, is_moe):
        super().__init__()
        D, n_layers = run["model.width"], run["model.layers"]
        reader, hd = D ** -0.5, D // run["model.heads"]
        H = run["model.shared_hidden"] if is_moe else run["model.hidden"]
        self.is_moe = is_moe
        self.norm_a = torch.nn.Parameter(torch.ones(D))
        self.norm_b = torch.nn.Parameter(torch.ones(D))
        self.q_gain = torch.nn.Parameter(torch.ones(hd))
        self.k_gain = torch.nn.Parameter(torch.ones(hd))
        self.qkv = matrix(3, D, D, std=reader)
        self.o = matrix(D, D, std=(D * 2 * n_layers) ** -0.5)
        self.gate_up = matrix(D, 2 * H, std=reader)
        self.down = matrix(H, D, std=(H * 2 * n_layers) ** -0.5)
        if is_moe:
            E, H = run["model.experts"], run["model.expert_hidden"]
            self.gate = matrix(D, E, std=0.02)
            self.expert_gate_up = matrix(E, D, 2 * H, std=reader)
            self.expert_down = matrix(E, H, D, std=0.25 * H ** -0.5)
            self.register_buffer("bias", torch.zeros(E))


class Model(torch.nn.Module):
    def __init__(self, run, compiled):
        super().__init__()
        D, T, hd = run["model.width"], run["model.context"], run["model.width"] // run["model.heads"]
        self.run = run
        self.embed = matrix(256, D, std=0.02)
        self.layers = torch.nn.ModuleList(Layer(run, i in run["model.moe_layers"]) for i in range(run["model.layers"]))
        self.norm = torch.nn.Parameter(torch.ones(D))
        self.head = matrix(D, 256, std=0.005)
        turn = run["model.rope_theta"] ** (-torch.arange(0, hd, 2) / hd)
        angle = torch.outer(torch.arange(T).float(), turn)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        wrap = (lambda f, **k: torch.compile(f, **k)) if compiled else (lambda f, **k: f)
        self.attention, self.dense, self.ask, self.tell = wrap(attention), wrap(dense), wrap(ask), wrap(tell)
        self.swiglu = wrap(swiglu, dynamic=True)

    def experts(self, layer, h, x, pick, weight):
        K, E = self.run["model.chosen"], self.run["model.experts"]
        order = torch.argsort(pick.flatten(), stable=True)
        count = torch.bincount(pick.flatten(), minlength=E)
        token = order.div(K, rounding_mode="floor")
        rows = x.index_select(0, token).split(count.tolist())
        out = [self.swiglu(r, w, d) for r, w, d in zip(rows, layer.expert_gate_up.unbind(0), layer.expert_down.unbind(0))]
        y = torch.cat(out) * weight.flatten().index_select(0, order).unsqueeze(1)
        layer.bias.add_(torch.sign(count.float().mean() - count), alpha=self.run["router.bias_rate"])
        return h.flatten(0, 1).index_add(0, token, y).view_as(h)

    def forward(self, token, target):
        h, z_loss = F.embedding(token, self.embed), 0.0
        for layer in self.layers:
            h = self.attention(h, layer.norm_a, layer.qkv, layer.q_gain, layer.k_gain, layer.o, self.cos, self.sin,
                               self.run["model.heads"])
            if layer.is_moe:
                h, x, pick, weight, z = self.ask(h, layer.norm_b, layer.gate, layer.bias, layer.gate_up, layer.down,
                                                 self.run["model.chosen"])
                h = self.experts(layer, h, x, pick, weight)
                z_loss = z_loss + self.run["router.z_loss"] * z
            else:
                h = self.dense(h, layer.norm_b, layer.gate_up, layer.down)
        loss = self.tell(h, self.norm, self.head, target)
        return loss, loss + z_loss


# ---- the optimizers ----


def newton_schulz(x):
    """x (n, M, N), M <= N: five steps of the quintic for all matrices of a shape at once."""
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-30)
    for _ in range(5):
        s = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x


class Muon:
    """Hidden matrices.  What is stored joined (q k v, gate up) is updated apart, as the matrices that they are."""

    def __init__(self, parts, run, compiled):
        self.group, self.run = {}, run
        for part in parts:
            M, N = part().shape[-2:]
            self.group.setdefault((min(M, N), max(M, N), M > N), []).append(part)
        self.momentum = {key: None for key in self.group}
        self.newton_schulz = torch.compile(newton_schulz) if compiled else newton_schulz

    @torch.no_grad()
    def step(self, scale):
        for key, parts in self.group.items():
            grad = torch.cat([p(grad=True).reshape(-1, *p().shape[-2:]) for p in parts])
            m = self.momentum[key]
            m = self.momentum[key] = torch.zeros_like(grad) if m is None else m
            m.mul_(self.run["trainer.momentum"]).add_(grad)
            u = grad.add(m, alpha=self.run["trainer.momentum"])
            u = self.newton_schulz(u.mT.contiguous()).mT if key[2] else self.newton_schulz(u)
            lr = self.run["trainer.lr_muon"] * scale
            rate = lr * max(1.0, math.sqrt(u.shape[-1] / u.shape[-2]))
            params = [p().view(-1, *p().shape[-2:]) if p().is_contiguous() else p().unsqueeze(0) for p in parts]
            torch._foreach_mul_(params, 1 - lr * self.run["trainer.weight_decay"])
            torch._foreach_add_(params, list(u.split([p.shape[0] for p in params])), alpha=-rate)


def part(tensor, select=lambda x: x):
    return lambda grad=False: select(tensor.grad if grad else tensor)


def muon_parts(model):
    for layer in model.layers:
        H = layer.down.shape[0]
        yield part(layer.qkv)
        yield part(layer.o)
        yield part(layer.gate_up, lambda x, H=H: x[:, :H])
        yield part(layer.gate_up, lambda x, H=H: x[:, H:])
        yield part(layer.down)


class Training:
    def __init__(self, run, data, variant):
        torch.manual_seed(1)
        self.run, self.data, self.n_steps = run, data, 0
        compiled = "compile" in variant
        self.model = Model(run, compiled)
        hidden, experts, decayed, plain = [], [], [], []
        for name, p in self.model.named_parameters():
            leaf = name.split(".")[-1]
            if "expert" in leaf:
                experts.append(p)
            elif leaf in ("qkv", "o", "gate_up", "down"):
                hidden.append(p)
            else:
                (decayed if p.dim() > 1 else plain).append(p)
        self.trunk = hidden + decayed + plain
        self.muon = Muon(list(muon_parts(self.model)), run, compiled)
        betas = (run["trainer.beta1"], run["trainer.beta2"])
        self.adamw = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": run["trainer.weight_decay"]}, {"params": plain, "weight_decay": 0.0}],
            lr=run["trainer.lr_adam"], betas=betas, eps=1e-8, fused=True)
        betas, decay = (run["experts.beta1"], run["experts.beta2"]), run["experts.weight_decay"]
        if "nadam" in variant:
            self.expert = torch.optim.NAdam(experts, lr=run["experts.lr"], betas=betas, weight_decay=decay, foreach=True,
                                            decoupled_weight_decay=True)
        else:
            self.expert = torch.optim.AdamW(experts, lr=run["experts.lr"], betas=betas, weight_decay=decay, fused=True)

    def batch(self):
        B, T = self.run["trainer.batch"], self.run["model.context"]
        at = torch.randint(0, len(self.data) - T - 1, (B, 1)) + torch.arange(T + 1)
        window = self.data[at].long()
        return window[:, :-1], window[:, 1:].flatten()

    def step(self):
        loss, objective = self.model(*self.batch())
        objective.backward()
        torch.nn.utils.clip_grad_norm_(self.trunk, self.run["trainer.clip"], foreach=True)
        scale = min(1.0, (self.n_steps + 1) / max(1, self.run["trainer.warmup_steps"]))
        for group in self.adamw.param_groups:
            group["lr"] = self.run["trainer.lr_adam"] * scale
        for group in self.expert.param_groups:
            group["lr"] = self.run["experts.lr"] * scale
        self.muon.step(scale)
        self.adamw.step()
        self.expert.step()
        self.model.zero_grad(set_to_none=True)
        self.n_steps += 1
        return loss.detach()

    def measure(self, seconds):
        """Tokens a second by the clock and a second of CPU, over about that long, and the mean loss of the last tenth."""
        losses, start, cpu_start = [], time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds or not losses:
            losses.append(self.step())
        n_tokens = len(losses) * self.run["trainer.batch"] * self.run["model.context"]
        last = losses[-max(1, len(losses) // 10):]
        return {"rate": n_tokens / (time.perf_counter() - start), "per_cpu": n_tokens / (time.process_time() - cpu_start),
                "loss": float(torch.stack(last).mean())}


def serve(args):
    """A process of its own for each variant: trains while it is told to.  A line in: seconds; a line out: what measure() gave."""
    torch.set_num_threads(args.threads)
    text = open(args.data, "rb").read()
    data = torch.frombuffer(bytearray(text[:len(text) * 9 // 10]), dtype=torch.uint8)
    training = Training(read_run(args.run), data, args.serve)
    for _ in range(N_WARM_UP):
        training.step()
    if "compile" in args.serve:  # shapes that vary are compiled anew until the compiler knows which do
        training.measure(COMPILE_SECONDS)
    for line in sys.stdin:
        print(json.dumps(training.measure(float(line))), flush=True)


class Variant:
    """One way to run the PyTorch model: a process that waits for measure()."""

    def __init__(self, name, args):
        self.name = name
        environment = dict(os.environ)
        if "passive" in name:
            environment["OMP_WAIT_POLICY"] = "passive"
        # Large tensors stay with the process instead of going back to the system each time.
        environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 30))
        environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 32))
        words = [sys.executable, __file__, "--hanse", args.hanse, "--run", args.run, "--data", args.data, "--threads",
                 str(args.threads), "--serve", name]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
                                        env=environment)

    def measure(self, seconds):
        """None when the variant does not run here; reason() says why."""
        try:
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def reason(self):
        self.errors.seek(0)
        return (self.errors.read().strip().splitlines() or ["it said nothing"])[-1][:90]

    def close(self):
        self.process.kill()
        self.process.wait()


def choose_variant(args):
    best, best_rate = None, 0.0
    for name in args.variants.split(","):
        variant = Variant(name, args)
        got = variant.measure(args.seconds)
        print(f"  pytorch, {name:24} " + (f"{got['rate']:9.0f} tokens/s" if got else "does not run: " + variant.reason()),
              flush=True)
        if got and got["rate"] > best_rate:
            if best:
                best.close()
            best, best_rate = variant, got["rate"]
        else:
            variant.close()
    if not best:
        sys.exit("no variant of the PyTorch model runs here")
    return best


def count_lines(path):
    return open(path).read().count("\n") if os.path.exists(path) else 0


def cpu_seconds(pid):
    """By all threads of a process, so far (Linux)."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_hanse(args, directory):
    """The same by hanse's own metrics, without its first steps, as PyTorch's warm-up is left out."""
    metrics = os.path.join(directory, "metrics.jsonl")
    shutil.rmtree(os.path.join(directory, "run"), ignore_errors=True)
    if os.path.exists(metrics):
        os.remove(metrics)
    words = [args.hanse, "train", "--local", "--run", args.run, "--dir", os.path.join(directory, "run"), "--data", args.data,
             "--seconds", str(args.seconds + 1), "--workers", str(args.threads), "--metrics", metrics]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    seen = []  # steps that were in the metrics, and the CPU that it had taken
    while process.poll() is None:
        seen.append((count_lines(metrics), cpu_seconds(process.pid)))
        time.sleep(0.1)
    if process.returncode != 0:
        sys.exit(f"{args.hanse} train: exit status {process.returncode}")
    lines = [json.loads(line) for line in open(metrics)]
    first = min(N_WARM_UP, len(lines) // 2)
    rate = (lines[-1]["tokens"] - lines[first - 1]["tokens"]) / (lines[-1]["seconds"] - lines[first - 1]["seconds"])
    begin = next(x for x in seen if x[0] >= first)
    end = next((x for x in seen if x[0] >= len(lines)), seen[-1])  # before it saves
    per_cpu = (end[0] - begin[0]) * lines[0]["tokens"] / max(end[1] - begin[1], 1e-9)
    losses = [x["loss"] for x in lines[-max(1, len(lines) // 10):]]
    return {"rate": rate, "per_cpu": per_cpu, "loss": sum(losses) / len(losses)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--hanse", required=True, help="the program")
    p.add_argument("--run", required=True, help="run.yaml")
    p.add_argument("--data", required=True, help="the text")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=10, help="of each measurement")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--variants", default="eager nadam,eager adamw,eager adamw passive,compile adamw,compile adamw passive")
    p.add_argument("--serve", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.serve:
        serve(args)
        return
    read_run(args.run)
    print(f"{args.run}, {args.threads} threads each, f32; PyTorch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})")
    variant = choose_variant(args)
    best = {"hanse": 0.0, "pytorch": 0.0}
    with tempfile.TemporaryDirectory() as directory:
        for i in range(args.rounds):
            got = {"hanse": measure_hanse(args, directory), "pytorch": variant.measure(args.seconds)}
            for who, x in got.items():
                best[who] = max(best[who], x["rate"])
                print(f"  round {i + 1}: {who:8} {x['rate']:9.0f} tokens/s   {x['per_cpu']:9.0f} tokens/s of CPU   "
                      f"loss {x['loss']:.3f}")
            print(f"           ratio {got['hanse']['rate'] / got['pytorch']['rate']:.2f}", flush=True)
    variant.close()
    print(f"best: hanse {best['hanse']:.0f}, pytorch ({variant.name}) {best['pytorch']:.0f} tokens/s, "
          f"ratio {best['hanse'] / best['pytorch']:.2f}")


if __name__ == "__main__":
    main()
