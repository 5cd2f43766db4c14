#!/usr/bin/env python3
"""tests/kernels/second.py - doc/numerics.md once more, in integers, from its words alone.

No float of this machine takes part: a float is its 32 bits, every operation works out the exact value in integers of any
length and rounds it once.  Reads the cases that tests/kernels/second_vectors prints, computes each operation from its inputs
and compares every bit; only which NaN it is stays open, as the page says.

    tests/kernels/second_vectors | python3 tests/kernels/second.py [kernels/ref/constants.h]
"""
import collections
import math
import os
import re
import struct
import sys

# ---- binary32 in integers

QNAN, INF, ONE, SIGN = 0x7fc00000, 0x7f800000, 0x3f800000, 0x80000000


def is_nan(a):
    return a & 0x7fffffff > INF


def is_inf(a):
    return a & 0x7fffffff == INF


def is_zero(a):
    return a & 0x7fffffff == 0


def neg(a):
    return a ^ SIGN


def parts(a):
    """Sign, m and e of a finite number (-1)^sign m 2^e."""
    field, fraction = a >> 23 & 0xff, a & 0x7fffff
    return (a >> 31, fraction | 0x800000, field - 150) if field else (a >> 31, fraction, -149)


def rounded(sign, m, e, more=False):
    """(-1)^sign m 2^e, m >= 0, as the nearest float, ties to even; `more`: the exact value is a little beyond m."""
    drop = max(m.bit_length() - 24, -149 - e)
    if drop <= 0:
        assert not more
        q = m << -drop
    else:
        q, rest, half = m >> drop, m & (1 << drop) - 1, 1 << drop - 1
        if rest > half or rest == half and (more or q & 1):
            q += 1
    e += drop
    if q.bit_length() > 24:
        q, e = q >> 1, e + 1
    if e > 104:
        return sign << 31 | INF
    return sign << 31 | (q if q < 1 << 23 else (e + 150 << 23) + q - (1 << 23))


def fma(a, b, c):
    if is_nan(a) or is_nan(b) or is_nan(c) or is_inf(a) and is_zero(b) or is_zero(a) and is_inf(b):
        return QNAN
    if is_inf(a) or is_inf(b):
        product = (a ^ b) & SIGN | INF
        return QNAN if is_inf(c) and c != product else product
    if is_inf(c):
        return c
    (sa, ma, ea), (sb, mb, eb), (sc, mc, ec) = parts(a), parts(b), parts(c)
    e = min(ea + eb, ec)
    p, q = ma * mb << ea + eb - e, mc << ec - e
    total = (-p if sa != sb else p) + (-q if sc else q)
    if total == 0:  # an exact 0 is -0 only when both terms are
        return SIGN if p == 0 and sa != sb and sc else 0
    return rounded(int(total < 0), abs(total), e)


def add(a, b):
    return fma(a, ONE, b)


def sub(a, b):
    return fma(a, ONE, neg(b))


def mul(a, b):
    if is_nan(a) or is_nan(b) or is_inf(a) and is_zero(b) or is_zero(a) and is_inf(b):
        return QNAN
    sign = (a ^ b) >> 31
    if is_inf(a) or is_inf(b):
        return sign << 31 | INF
    (_, ma, ea), (_, mb, eb) = parts(a), parts(b)
    return rounded(sign, ma * mb, ea + eb)


def div(a, b):
    if is_nan(a) or is_nan(b) or is_inf(a) and is_inf(b) or is_zero(a) and is_zero(b):
        return QNAN
    sign = (a ^ b) >> 31
    if is_inf(a) or is_zero(b):
        return sign << 31 | INF
    if is_inf(b):
        return sign << 31
    (_, ma, ea), (_, mb, eb) = parts(a), parts(b)
    q, rest = divmod(ma << 60, mb)
    return rounded(sign, q, ea - eb - 60, rest != 0)


def sqrt(a):
    if is_nan(a) or a >> 31 and not is_zero(a):
        return QNAN
    if is_inf(a) or is_zero(a):
        return a
    _, m, e = parts(a)
    m, e = (m << 61, e - 61) if e & 1 else (m << 60, e - 60)
    root = math.isqrt(m)
    return rounded(0, root, e // 2, root * root != m)


def less(a, b):
    """a < b as numbers; False with a NaN."""
    if is_nan(a) or is_nan(b):
        return False
    order = [-(x & 0x7fffffff) if x >> 31 else x for x in (a, b)]
    return order[0] < order[1]


def magnitude(a):
    return a & 0x7fffffff


def of_int(n):
    return rounded(int(n < 0), abs(n), 0)


def power(e):
    return rounded(0, 1, e)


def constant(text):
    """A C constant in hexadecimal or decimal, as a float."""
    number = float.fromhex(text) if "x" in text else float(text)
    return struct.unpack("<I", struct.pack("<f", number))[0]


F = {}  # the constants of kernels/ref/constants.h, which the page refers to


def read_constants(path):
    with open(path) as lines:
        for name, text in re.findall(r"^#define (\w+) (-?[\w.+-]+?)[fu]?(?=\s|$)", lines.read(), re.M):
            F[name] = int(text, 16) if name == "SQRT_HALF_BITS" else constant(text)


# ---- row sums, functions

def tree(lane):
    for half in (16, 8, 4, 2, 1):
        for i in range(half):
            lane[i] = add(lane[i], lane[i + half])
    return lane[0]


def dot(x, y):
    lane = [0] * 32
    for i, (a, b) in enumerate(zip(x, y)):
        lane[i % 32] = fma(a, b, lane[i % 32])
    return tree(lane)


def plain_sum(x):
    lane = [0] * 32
    for i, a in enumerate(x):
        lane[i % 32] = add(lane[i % 32], a)
    return tree(lane)


def pieces(x):
    return [x[i:i + 4096] for i in range(0, len(x), 4096)] or [[]]


def sum_squares(x):
    values = [dot(piece, piece) for piece in pieces(x)]
    while len(values) > 1:
        values = [plain_sum(piece) for piece in pieces(values)]
    return values[0]


def horner(names, x):
    y = F[names[-1]]
    for name in reversed(names[:-1]):
        y = fma(y, x, F[name])
    return y


def names(stem, degree):
    return [stem + str(i) for i in range(degree + 1)]


def reduced(x, c):
    """t and n: the integer nearest x c."""
    t = fma(x, c, F["ROUNDER"])
    return t, sub(t, F["ROUNDER"])


def exp(x):
    if is_nan(x):
        return x
    if less(x, F["EXP_LEAST"]):
        return 0
    if less(F["EXP_GREATEST"], x):
        return INF
    t, n = reduced(x, F["LOG2_E"])
    r = fma(n, neg(F["LN2_HIGH"]), x)
    r = fma(n, neg(F["LN2_LOW"]), r)
    p = add(fma(mul(r, r), horner(names("EXP_Q", 4), r), r), ONE)
    return p + (t << 23) & 0xffffffff


def log(x):
    if is_nan(x) or x == INF:
        return x
    if magnitude(x) < 1 << 23:
        return INF | SIGN
    if x >> 31:
        return QNAN
    n = (x - F["SQRT_HALF_BITS"]) >> 23  # Python's shift is arithmetic
    f = sub(x - (n << 23), ONE)
    n = of_int(n)
    z = mul(f, f)
    y = fma(n, F["LN2_REST"], mul(mul(f, z), horner(names("LOG_Q", 8), f)))
    y = fma(constant("-0.5"), z, y)
    return fma(n, F["LN2_SHORT"], add(f, y))


def rsqrt(x):
    return div(ONE, sqrt(x))


def sigmoid(x):
    return div(ONE, add(ONE, exp(neg(x))))


def sincos(x):
    t, n = reduced(x, F["TWO_OVER_PI"])
    r = x
    for part in ("HALF_PI_HIGH", "HALF_PI_MIDDLE", "HALF_PI_LOW"):
        r = fma(n, neg(F[part]), r)
    z = mul(r, r)
    s = fma(mul(r, z), horner(names("SIN_S", 3), z), r)
    c = fma(mul(z, z), horner(names("COS_C", 2), z), fma(constant("-0.5"), z, ONE))
    return [(s, c), (c, neg(s)), (neg(s), neg(c)), (neg(c), s)][t & 3]


# ---- products

def matmul(a, b, M, N, K, old=None):
    """a(i, k) and b(k, j) are functions."""
    c = []
    for i in range(M):
        for j in range(N):
            s = old[i * N + j] if old else 0
            for k in range(K):
                s = fma(a(i, k), b(k, j), s)
            c.append(s)
    return c


def nearest(m, e):
    """rint(m 2^e) of an integer m >= 0, ties to even."""
    if e >= 0:
        return m << e
    q, rest = divmod(m, 1 << -e)
    half = 1 << -e - 1
    return q + (rest > half or rest == half and q & 1)


def quantize(group, n_slices, fold=None):
    """Integers and exponent of a group; None when it is refused."""
    if fold and 127 in fold:
        return None
    if fold:
        group = [mul(x, power(f)) for x, f in zip(group, fold)]
    most = max(map(magnitude, group), default=0)
    if most >= power(40):
        return None
    if most < power(-100):
        return [0] * len(group), -114
    greatest = 127 if n_slices == 1 else 32639
    _, m, e = parts(most)
    exponent = next(t for t in range(-114, 35) if nearest(m, e - t) <= greatest)
    out = []
    for x in group:
        sign, m, e = parts(x)
        q = nearest(m, e - exponent)
        assert q <= greatest
        out.append(-q if sign else q)
    return out, exponent


def slices(q, n_slices):
    if n_slices == 1:
        return q, 0
    high = q + 128 >> 8
    low = q - 256 * high
    assert -127 <= high <= 127 and -128 <= low <= 127
    return high, low


def multiply(a, ea, b, eb, n_slices, M, N, K, old=None):
    """a(i, k) and b(k, j) are integers; ea, eb lists or None, 127 of a group that was refused."""
    c = []
    for i in range(M):
        for j in range(N):
            s = (ea[i] if ea else 0) + (eb[j] if eb else 0) + (8 if n_slices == 2 else 0)
            is_bad = ea and ea[i] == 127 or eb and eb[j] == 127
            scale = QNAN if is_bad else power(min(s, 127)) if s >= -100 else 0
            y = old[i * N + j] if old else 0
            for first in range(0, K, 65536):
                high = cross = 0
                for k in range(first, min(K, first + 65536)):
                    (ah, al), (bh, bl) = slices(a(i, k), n_slices), slices(b(k, j), n_slices)
                    high += ah * bh
                    cross += ah * bl + al * bh
                assert abs(high) < 1 << 31 and abs(cross) < 1 << 31
                z = 256 * high + cross if n_slices == 2 else high
                y = fma(of_int(z), scale, y)
            c.append(y)
    return c


# ---- operations

def rmsnorm(x, gain, eps):
    rstd = rsqrt(add(div(dot(x, x), of_int(len(x))), eps))
    y = [mul(a, rstd) for a in x]
    return ([mul(a, g) for a, g in zip(y, gain)] if gain else y), rstd


def rmsnorm_grad(gy, x, rstd, gain, ggain):
    w = [mul(a, g) for a, g in zip(gy, gain)] if gain else gy
    c = mul(div(dot(w, x), of_int(len(x))), mul(rstd, rstd))
    if ggain:
        ggain[:] = [fma(g, mul(a, rstd), old) for g, a, old in zip(gy, x, ggain)]
    return [mul(rstd, fma(neg(c), a, b)) for a, b in zip(x, w)]


def swiglu(g, u):
    return mul(mul(g, sigmoid(g)), u)


def swiglu_grad(gh, g, u):
    s = sigmoid(g)
    return mul(mul(gh, u), mul(s, fma(g, sub(ONE, s), ONE))), mul(gh, mul(g, s))


def flush(x, e):
    return 0 if magnitude(x) < power(e) else x  # a NaN lies above, so it stays


def adam(p, m, v, g, step, is_nesterov):
    lr, beta1, beta2, eps, decay, power1, power2, grad_scale = step
    for i in range(len(p)):
        grad = mul(g[i], grad_scale)
        f = mul(sub(ONE, beta1), grad)
        m[i] = flush(fma(beta1, m[i], f), -100)
        v[i] = flush(fma(beta2, v[i], mul(mul(sub(ONE, beta2), grad), grad)), -115)
        now = div(ONE, sub(ONE, power1))
        if is_nesterov:
            u = fma(m[i], div(beta1, sub(ONE, mul(power1, beta1))), mul(f, now))
        else:
            u = mul(m[i], now)
        d = add(sqrt(mul(v[i], div(ONE, sub(ONE, power2)))), eps)
        p[i] = flush(fma(neg(lr), div(u, d), fma(neg(mul(lr, decay)), p[i], p[i])), -100)


def muon(p, m, g, step, n_iterations, M, N):
    lr, momentum, decay, grad_scale = step
    x = []
    for i in range(M * N):
        grad = mul(g[i], grad_scale)
        m[i] = flush(fma(momentum, m[i], grad), -100)
        x.append(fma(momentum, m[i], grad))
    most = max(map(magnitude, x))
    decay = mul(lr, decay)
    if is_nan(most) or most < power(-100):
        p[:] = [flush(fma(neg(decay), a, a), -100) for a in p]
        return
    x = [div(a, most) for a in x]
    norm = sqrt(sum_squares(x))
    x = [div(a, norm) for a in x]
    for _ in range(n_iterations):
        S = min(M, N)
        if M <= N:
            s = matmul(lambda i, k: x[i * N + k], lambda k, j: x[j * N + k], S, S, N)
        else:
            s = matmul(lambda i, k: x[k * N + i], lambda k, j: x[k * N + j], S, S, M)
        f = matmul(lambda i, k: s[i * S + k], lambda k, j: s[k * S + j], S, S, S)
        f = [fma(constant("-4.7750"), a, mul(constant("2.0315"), b)) for a, b in zip(s, f)]
        y = [mul(constant("3.4445"), a) for a in x]
        if M <= N:
            y = matmul(lambda i, k: f[i * S + k], lambda k, j: x[k * N + j], M, N, S, y)
        else:
            y = matmul(lambda i, k: x[i * N + k], lambda k, j: f[k * S + j], M, N, S, y)
        x = y
    rate = mul(lr, sqrt(div(of_int(N), of_int(M)))) if N > M else lr
    p[:] = [flush(fma(neg(rate), a, fma(neg(decay), b, b)), -100) for a, b in zip(x, p)]


def greatest(x):
    most = x[0]
    for a in x:
        most = a if less(most, a) else most
    return most


def exp_row(x):
    most = greatest(x)
    e = [exp(sub(a, most)) for a in x]
    return e, plain_sum(e), most


def chain(x, y):
    s = 0
    for a, b in zip(x, y):
        s = fma(a, b, s)
    return s


def attention(q, k, v, gout, scale, T):
    """q, k, v, gout are lists of T rows."""
    def end(i):
        return min(T, (i // 32 + 1) * 32)

    def columns(rows):
        return list(zip(*rows))
    prob = []
    for i in range(T):
        e, total, _ = exp_row([mul(chain(q[i], k[j]), scale) for j in range(i + 1)])
        prob.append([mul(a, div(ONE, total)) for a in e] + [0] * (T - i - 1))
    out = [[chain(prob[i][:end(i)], column) for column in columns(v)] for i in range(T)]
    gs = []
    for i in range(T):
        gp = [chain(gout[i], v[j]) for j in range(i + 1)]
        m = dot(prob[i][:i + 1], gp)
        gs.append([mul(mul(p, sub(g, m)), scale) for p, g in zip(prob[i], gp)] + [0] * (T - i - 1))
    gq = [[chain(gs[i][:end(i)], column) for column in columns(k)] for i in range(T)]

    def down(w, rows):
        return [[chain([w[i][j] for i in range(j // 32 * 32, T)], column[j // 32 * 32:]) for column in columns(rows)]
                for j in range(T)]
    return prob, out, gq, down(gs, q), down(prob, gout)


def philox(counter, key):
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        low, high = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [high >> 32 ^ c[1] ^ k0, high & 0xffffffff, low >> 32 ^ c[3] ^ k1, low & 0xffffffff]
        k0, k1 = k0 + 0x9E3779B9 & 0xffffffff, k1 + 0xBB67AE85 & 0xffffffff
    return c


def first_value(i, key, std):
    attempt = 0
    while True:
        word = philox([i & 0xffffffff, i >> 32, attempt, 0], key)
        for a, b in (word[:2], word[2:]):
            u, turn = rounded(0, 2 * (a >> 9) + 1, -24), rounded(0, b >> 8, -24)
            z = mul(sqrt(mul(constant("-2"), log(u))), sincos(mul(F["TWO_PI"], turn))[1])
            if magnitude(z) <= constant("3"):
                return mul(z, std)
        attempt += 1


# ---- an expert

def at(x, ld):
    """The element function of rows of ld."""
    return lambda i, k: x[i * ld + k]


def turned(f):
    return lambda i, k: f(k, i)


class Refused(Exception):
    pass


def groups(found):
    if None in found:
        raise Refused
    return [q for q, _ in found], [e for _, e in found]


class Layer:
    """A matrix w(i, j) of (M, N), rounded by columns."""

    def __init__(self, w, M, N, n_slices):
        self.M, self.N, self.n_slices, self.found = M, N, n_slices, None
        self.found = [quantize([w(i, j) for i in range(M)], n_slices) for j in range(N)]

    def forward(self, x, ex, n):
        q, e = groups(self.found)
        return multiply(x, ex, lambda k, j: q[j][k], e, self.n_slices, n, self.N, self.M)

    def grad_of_x(self, g, n, old=None):
        q, e = groups(self.found)
        rows, eg = groups([quantize(g[r * self.N:(r + 1) * self.N], self.n_slices, e) for r in range(n)])
        return multiply(lambda i, k: rows[i][k], eg, lambda k, j: q[k][j], None, self.n_slices, n, self.M, self.N, old)

    def grad_of_w(self, x, ex, g, n, old):
        q, e = groups([quantize([g[r * self.N + j] for r in range(n)], self.n_slices, ex) for j in range(self.N)])
        return multiply(turned(x), None, lambda k, j: q[j][k], e, self.n_slices, self.M, self.N, n, old)


class Expert:
    def __init__(self, c):
        self.D, self.H, self.warmup, self.max_staleness = c["D"], c["H"], c["warmup"], c["max_staleness"]
        self.n_slices = (0, 2, 1)[c["numerics"]]
        self.lr, self.beta1, self.beta2, self.eps, self.decay, self.clip = c["config"]
        self.param, self.version = list(c["param"]), 0
        self.m, self.v, self.powers = [0] * len(self.param), [0] * len(self.param), [ONE, ONE]
        self.begin()

    def begin(self):
        size, D, H, p = self.D * self.H, self.D, self.H, self.param
        self.grad, self.slots, self.scales, self.block = [[0] * size for _ in range(3)], 0, 0, []
        self.Wg, self.Wu, self.Wd = at(p[:size], H), at(p[size:2 * size], H), at(p[2 * size:], D)
        if self.n_slices:
            self.layers = [Layer(w, D, H, self.n_slices) for w in (self.Wg, self.Wu, turned(self.Wd))]

    def check(self, rows):
        """REJECT of what was sent: floats, or integers and exponents."""
        if self.n_slices:
            q, e, high = rows
            bad = any(not -114 <= a <= (5 if self.n_slices == 2 else 13) for a in e) or -128 in high
        else:
            bad = any(magnitude(a) >= power(20) for a in rows)
        if bad:
            raise Refused

    def hidden(self, x, n):
        if self.n_slices:
            q = at(x[0], self.D)
            g, u = (layer.forward(q, x[1], n) for layer in self.layers[:2])
        else:
            g, u = (matmul(at(x, self.D), w, n, self.H, self.D) for w in (self.Wg, self.Wu))
        return g, u, [swiglu(a, b) for a, b in zip(g, u)]

    def forward(self, x, n):
        self.check(x)
        h = self.hidden(x, n)[2]
        if self.n_slices:
            return self.layers[2].grad_of_x(h, n)
        y = matmul(at(h, self.H), self.Wd, n, self.D, self.H)
        if any(magnitude(a) >= power(40) for a in y):
            raise Refused
        return y

    def backward(self, x, gy, weight, n, version, lr_scale):
        self.check(x)
        self.check(gy)
        D, H = self.D, self.H
        g, u, h = self.hidden(x, n)
        if self.n_slices:
            gh = self.layers[2].forward(at(gy[0], D), gy[1], n)
            if weight:
                gh, h = ([mul(a, weight[i // H]) for i, a in enumerate(rows)] for rows in (gh, h))
        else:
            if weight:
                gy = [mul(weight[i // D], a) for i, a in enumerate(gy)]
                self.check(gy)
            gh = matmul(at(gy, D), turned(self.Wd), n, H, D)
        both = [swiglu_grad(*one) for one in zip(gh, g, u)]
        gg, gu = [a for a, _ in both], [b for _, b in both]
        if self.n_slices:
            if any(magnitude(a) >= power(24) for a in gg + gu + h):
                raise Refused
            gx = self.layers[1].grad_of_x(gu, n, self.layers[0].grad_of_x(gg, n))
            if any(magnitude(a) >= power(40) for a in gx):
                raise Refused
        else:
            gx = matmul(at(gg, H), turned(self.Wg), n, D, H)
            gx = matmul(at(gu, H), turned(self.Wu), n, D, H, gx)
            if any(magnitude(a) >= power(40) for a in gx) or any(magnitude(a) >= INF for a in gg + gu + h):
                raise Refused
        stale = abs(self.version - version)
        if stale > self.max_staleness:
            return gx
        halvings = min((stale + 1) // 3, 30)
        if halvings:
            gg, gu, h = ([mul(a, power(-halvings)) for a in rows] for rows in (gg, gu, h))
        for r in range(n):
            self.slots += 1
            self.scales = add(self.scales, lr_scale)
            mine = [rows[r * H:(r + 1) * H] for rows in (gg, gu, h)]
            if self.n_slices:
                self.block.append(([(q[0][r * D:(r + 1) * D], q[1][r]) for q in (x, gy)], mine))
                if len(self.block) == 256:
                    self.sum_block()
            else:
                self.sum_row(x[r * D:(r + 1) * D], gy[r * D:(r + 1) * D], *mine)
        return gx

    def sum_row(self, x, gy, gg, gu, h):
        D, H = self.D, self.H
        for grad, a, b in zip(self.grad, (x, x, h), (gg, gu, gy)):
            for i, left in enumerate(a):
                for j, right in enumerate(b):
                    grad[i * len(b) + j] = fma(left, right, grad[i * len(b) + j])

    def sum_block(self):
        n, D, H = len(self.block), self.D, self.H
        sent = [([self.block[r][0][i][0] for r in range(n)], [self.block[r][0][i][1] for r in range(n)]) for i in (0, 1)]
        (x, ex), (gy, egy) = sent
        gg, gu, h = ([a for _, rows in self.block for a in rows[i]] for i in range(3))
        self.grad[0] = self.layers[0].grad_of_w(lambda i, k: x[i][k], ex, gg, n, self.grad[0])
        self.grad[1] = self.layers[1].grad_of_w(lambda i, k: x[i][k], ex, gu, n, self.grad[1])
        old = [self.grad[2][j * D + i] for i in range(D) for j in range(H)]
        new = self.layers[2].grad_of_w(lambda i, k: gy[i][k], egy, h, n, old)
        self.grad[2] = [new[i * H + j] for j in range(H) for i in range(D)]
        self.block = []

    def update(self):
        if self.block:
            self.sum_block()
        grad, t = sum(self.grad, []), self.version + 1
        if self.slots:
            mean = div(ONE, of_int(self.slots))
            norm = mul(sqrt(sum_squares(grad)), mean)
            if magnitude(norm) < INF:
                scale = mul(mean, div(self.clip, norm)) if less(0, self.clip) and less(self.clip, norm) else mean
                self.powers = [mul(self.powers[0], self.beta1), mul(self.powers[1], self.beta2)]
                warm = div(of_int(t), of_int(self.warmup)) if t < self.warmup else ONE
                lr = mul(mul(self.lr, warm), div(self.scales, of_int(self.slots)))
                adam(self.param, self.m, self.v, grad, (lr, self.beta1, self.beta2, self.eps, self.decay, *self.powers, scale), True)
        self.version = t
        self.begin()


# ---- cases: each gives its results by name

expert = None


def case_expert_new(c):
    global expert
    expert = Expert(c)
    return {}


def case_expert_call(c):
    n, sent = c["n"], []
    for key in ("x", "gy"):
        if expert.n_slices:
            high, low = c[key + "_high"], c[key + "_low"]
            q = [256 * a + b for a, b in zip(high, low)] if expert.n_slices == 2 else high
            sent.append((q, c[key + "_exponent"], high))
        else:
            sent.append(c[key])
    out = {"is_refused": [0], "is_backward_refused": [0], "y": [], "gx": []}
    try:
        out["y"] = expert.forward(sent[0], n)
    except Refused:
        out["is_refused"] = [1]
    try:
        out["gx"] = expert.backward(*sent, c["weight"], n, c["version"], c["lr_scale"][0])
    except Refused:
        out["is_backward_refused"] = [1]
    return out


def case_expert_update(c):
    expert.update()
    return {"param": expert.param, "moment1": expert.m, "moment2": expert.v}


def flat(rows):
    return [a for row in rows for a in row]


def quantized(c, groups, order):
    """What rounding gives; `order` says where in (R, C) a list of groups has its integers."""
    n = c["slices"]
    found = [quantize(g, n, c["fold"]) for g in groups]
    shown = [f or ([0] * len(g), 127) for f, g in zip(found, groups)]
    q = order([g for g, _ in shown])
    out = {"exponent": [e for _, e in shown], "high": [slices(a, n)[0] for a in q], "low": [slices(a, n)[1] for a in q]}
    return out, shown


def case_quantize_rows(c):
    R, C = c["R"], c["C"]
    out, shown = quantized(c, [c["x"][r * C:(r + 1) * C] for r in range(R)], flat)
    out["back"] = [rounded(int(a < 0), abs(a), e) for g, e in shown for a in g]
    return out


def case_quantize_columns(c):
    return quantized(c, [c["x"][i::c["C"]] for i in range(c["C"])], lambda columns: flat(zip(*columns)))[0]


def case_multiply(c):
    n, N, K = c["slices"], c["N"], c["K"]
    a = [256 * h + l if n == 2 else h for h, l in zip(c["ah"], c["al"])]
    b = [256 * h + l if n == 2 else h for h, l in zip(c["bh"], c["bl"])]
    return {"c": multiply(lambda i, k: a[i * K + k], c["ea"], lambda k, j: b[k * N + j], c["eb"], n, c["M"], N, K,
                          c["c"] if c["accumulate"] else None)}


def case_matmul(c):
    N, K = c["N"], c["K"]
    return {"c": matmul(lambda i, k: c["a"][i * K + k], lambda k, j: c["b"][k * N + j], c["M"], N, K,
                        c["c"] if c["accumulate"] else None)}


def case_sums(c):
    return {"dot": [dot(c["x"], c["y"])], "squares": [sum_squares(c["x"])],
            "axpy": [fma(c["a"][0], x, y) for x, y in zip(c["x"], c["y"])]}



def case_functions(c):
    x = c["x"]
    return {"exp": list(map(exp, x)), "log": list(map(log, x)), "rsqrt": list(map(rsqrt, x)), "sigmoid": list(map(sigmoid, x)),
            "silu": [mul(a, sigmoid(a)) for a in x], "sin": [sincos(a)[0] for a in x], "cos": [sincos(a)[1] for a in x]}


def case_rmsnorm(c):
    D, y, rstd, gx, ggain = c["D"], [], [], [], list(c["ggain"])
    for r in range(c["R"]):
        x, gy = c["x"][r * D:(r + 1) * D], c["gy"][r * D:(r + 1) * D]
        row, s = rmsnorm(x, c["gain"], c["eps"][0])
        y += row
        rstd.append(s)
        gx += rmsnorm_grad(gy, x, s, c["gain"], ggain)
    return {"y": y, "rstd": rstd, "gx": gx, "ggain": ggain}


def case_swiglu(c):
    grads = [swiglu_grad(*one) for one in zip(c["gh"], c["g"], c["u"])]
    return {"h": [swiglu(g, u) for g, u in zip(c["g"], c["u"])], "gg": [a for a, _ in grads], "gu": [b for _, b in grads]}


def case_adam(c):
    p, m, v = list(c["p"]), list(c["m"]), list(c["v"])
    adam(p, m, v, c["g"], c["step"], c["name"] == "nadamw")
    return {"p": p, "m": m, "v": v}


def case_muon(c):
    p, m = list(c["p"]), list(c["m"])
    muon(p, m, c["g"], c["step"], c["n_iterations"], c["M"], c["N"])
    return {"p": p, "m": m}


def case_attention(c):
    T, hd = c["T"], c["hd"]
    rows = [[c[key][t * hd:(t + 1) * hd] for t in range(T)] for key in ("q", "k", "v", "gout")]
    found = attention(*rows, c["scale"][0], T)
    return {key: flat(a) for key, a in zip(("prob", "out", "gq", "gk", "gv"), found)}


def case_cross_entropy(c):
    x, t, scale = c["logit"], c["target"], c["scale"][0]
    e, total, most = exp_row(x)
    loss = sub(log(total), sub(x[t], most))
    p = [mul(a, div(ONE, total)) for a in e]
    return {"loss": [loss], "glogit": [mul(sub(a, ONE) if j == t else a, scale) for j, a in enumerate(p)]}


def case_rope(c):
    T, hd = c["T"], c["hd"]
    half, x, table = hd // 2, list(c["x"]), []
    turn = [exp(mul(neg(div(of_int(2 * i), of_int(hd))), log(c["theta"][0]))) for i in range(half)]
    for t in range(T):
        for i in range(half):
            s, cos = sincos(mul(of_int(t), turn[i]))
            table.append((s, cos))
            s = neg(s) if c["inverse"] else s
            a, b = x[t * hd + i], x[t * hd + half + i]
            x[t * hd + i], x[t * hd + half + i] = fma(a, cos, neg(mul(b, s))), fma(b, cos, mul(a, s))
    return {"sin": [s for s, _ in table], "cos": [k for _, k in table], "x": x}


def case_gate(c):
    score, K, D = c["score"], len(c["answered"]), len(c["gout"])
    value = [add(a, b) for a, b in zip(score, c["bias"])]
    order = sorted((e for e in range(len(score)) if c["allowed"][e] and not is_nan(value[e])),
                   key=lambda e: (magnitude(value[e]) if value[e] >> 31 else -value[e], e))
    pick = (order + [-1] * K)[:K]
    answered = [pick[k] >= 0 and c["answered"][k] for k in range(K)]
    total = 0
    for k in range(K):
        total = add(total, score[pick[k]]) if answered[k] else total
    counts = [a and less(0, total) for a in answered]
    weight = [div(score[pick[k]], total) if answered[k] else 0 for k in range(K)]
    m = chain([g for k, g in enumerate(c["gweight"]) if counts[k]], [w for k, w in enumerate(weight) if counts[k]])
    gscore = [0] * len(score)
    for k in range(K):
        if counts[k]:
            gscore[pick[k]] = div(sub(c["gweight"][k], m), total)
    used = [k for k in range(K) if not is_zero(weight[k])]
    y = [c["y"][k * D:(k + 1) * D] for k in range(K)]
    out = [chain([weight[k] for k in used], [y[k][i] for k in used]) for i in range(D)]
    back = [dot(c["gout"], y[k]) if answered[k] else 0 for k in range(K)]
    e, total, most = exp_row(c["logit"])
    lse = add(log(total), most)
    slope = div(mul(mul(constant("2"), c["scale"][0]), lse), total)
    return {"pick": pick, "weight": weight, "gscore": gscore, "out": out, "back": back,
            "glogit": [fma(slope, a, 0) for a in e], "z": [mul(fma(lse, lse, 0), c["scale"][0])]}


def case_first_values(c):
    return {"x": [first_value(i, (c["key0"], c["key1"]), c["std"][0]) for i in range(c["n"])]}


CASES = {name[5:]: f for name, f in list(globals().items()) if name.startswith("case_")}
CASES["adamw"] = CASES["nadamw"] = CASES.pop("adam")
LISTS = {"high", "low", "exponent", "fold", "ah", "al", "bh", "bl", "ea", "eb", "allowed", "answered", "pick", "x_high", "x_low",
         "x_exponent", "gy_high", "gy_low", "gy_exponent"}


def read_cases(lines):
    case = None
    for line in lines:
        word = line.split()
        if word[0] == "case":
            case = {"name": word[1], "=": {}}
        elif word[0] == "end":
            yield case
        else:
            is_float, key = word[0] == "f", word[1].lstrip("=")
            values = [int(w, 16 if is_float else 10) for w in word[2:]]
            if word[1] != key:
                case["="][key] = (is_float, values)
            else:
                case[key] = values if is_float or key in LISTS else values[0]


def differ(is_float, got, want):
    """The first place where two lists differ; None when they are the same."""
    if len(got) != len(want):
        return min(len(got), len(want))
    for i, (a, b) in enumerate(zip(got, want)):
        if a != b and not (is_float and is_nan(a) and is_nan(b)):
            return i
    return None


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    read_constants(sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "../../kernels/ref/constants.h"))
    n_cases, n_values, n_bad = collections.Counter(), collections.Counter(), 0
    for case in read_cases(sys.stdin):
        name = case["name"]
        got = CASES[name](case)
        n_cases[name] += 1
        for key, (is_float, want) in case["="].items():
            n_values[name] += len(want)
            at = differ(is_float, got.get(key, []), want)
            if at is None:
                continue
            n_bad += 1
            if n_bad <= 20:
                mine = got.get(key, [])[at:at + 1]
                show = "%08x" if is_float else "%d"
                print("%s, case %d: %s[%d] is %s, by the page %s" % (name, n_cases[name], key, at, show % want[at] if want[at:]
                      else "absent", show % mine[0] if mine else "absent"))
    for name in n_cases:
        print("%-18s %4d cases, %6d values" % (name, n_cases[name], n_values[name]))
    print("%d differ" % n_bad)
    return n_bad > 0 or not n_cases


if __name__ == "__main__":
    sys.exit(main())
