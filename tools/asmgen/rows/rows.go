package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"

	"github.com/loratool/loratool/tools/asmgen/isa"
)

func addScaled(s set) {
	n, r := s.begin("addScaled", ", f float32", []string{"y", "x"}, "\ty[i] += x[i]*f")
	f := s.broadcast("f")
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			VMOVUPS(s.add(r[0].at(at), s.mul(r[1].at(at), f)), r[0].at(at))
		})
	}, isa.Nothing)
}

func scale(s set) {
	n, r := s.begin("scale", ", f float32", []string{"x"}, "\tx[i] *= f")
	f := s.broadcast("f")
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) { VMOVUPS(s.mul(r[0].at(at), f), r[0].at(at)) })
	}, isa.Nothing)
}

// most keeps the maximum of each lane. Where an operand is NaN, VMAXPS returns
// the one named first.
func most(s set) {
	n, r := s.begin("most", "", []string{"x", "lanes"}, "\tif x[i] > lanes[i mod 16]: lanes[i mod 16] = x[i]")
	acc := map[int]VecVirtual{}
	s.each(func(at int) { acc[at] = s.load(Mem{Base: r[1].base, Disp: at}) })
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) { VMAXPS(acc[at], s.load(r[0].at(at)), acc[at]) })
	}, func() {
		s.each(func(at int) { VMOVUPS(acc[at], Mem{Base: r[1].base, Disp: at}) })
	})
}

func gate(s set) {
	n, r := s.begin("gate", "", []string{"h", "z", "u"}, "\th[i] = z[i]/(1+h[i])*u[i]")
	one := s.one()
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			q := s.div(s.add(r[0].at(at), one), s.load(r[1].at(at)))
			VMOVUPS(s.mul(r[2].at(at), q), r[0].at(at))
		})
	}, isa.Nothing)
}

func gateGrad(s set) {
	n, r := s.begin("gateGrad", "", []string{"z", "u", "dh", "e"},
		"\tx, a, d, v = z[i], 1/(1+e[i]), dh[i], u[i]",
		"\tu[i] = d*(x*a)",
		"\tz[i] = ((d*v)*a) * (1 + x*(1-a))")
	one := s.one()
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			x, d := s.load(r[0].at(at)), s.load(r[2].at(at))
			a := s.div(s.add(r[3].at(at), one), one)
			dva := s.mul(a, s.mul(r[1].at(at), d))
			VMOVUPS(s.mul(s.mul(a, x), d), r[1].at(at))
			VMOVUPS(s.mul(s.add(s.mul(s.sub(a, one), x), one), dva), r[0].at(at))
		})
	}, isa.Nothing)
}

func normalise(s set) {
	n, r := s.begin("normalise", ", mean, rstd float32", []string{"y", "x", "gamma"}, "\ty[i] = ((x[i]-mean)*rstd) * gamma[i]")
	mean, rstd := s.broadcast("mean"), s.broadcast("rstd")
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			x := s.mul(rstd, s.sub(mean, s.load(r[1].at(at))))
			VMOVUPS(s.mul(r[2].at(at), x), r[0].at(at))
		})
	}, isa.Nothing)
}

// normSum sums in float64, where the product of dy and gamma is exact.
func normSum(s set) {
	n, r := s.begin("normSum", ", mean, rstd float32, sums *float64", []string{"dy", "x", "gamma"},
		"\tsums[i mod 16] += float64(dy[i])*float64(gamma[i]) * float64((x[i]-mean)*rstd)")
	sums := Load(Param("sums"), GP64())
	mean, rstd := s.broadcast("mean"), s.broadcast("rstd")
	acc := map[int]VecVirtual{}
	s.eachWide(func(at int) {
		acc[at] = s.Reg()
		VMOVUPD(Mem{Base: sums, Disp: at}, acc[at])
	})
	isa.Loop(n, r[0].i, func() {
		s.eachWide(func(at int) {
			x := s.Half()
			VMOVUPS(r[1].at(at/2), x)
			VSUBPS(half(mean), x, x)
			VMULPS(half(rstd), x, x)
			xh, g, dy := s.Reg(), s.Reg(), s.Reg()
			VCVTPS2PD(x, xh)
			VCVTPS2PD(r[0].at(at/2), dy)
			VCVTPS2PD(r[2].at(at/2), g)
			VMULPD(dy, g, g)
			VMULPD(xh, g, g)
			VADDPD(g, acc[at], acc[at])
		})
	}, func() {
		s.eachWide(func(at int) { VMOVUPD(acc[at], Mem{Base: sums, Disp: at}) })
	})
}

// eachWide calls f for the offset of each register of a turn's values in
// float64.
func (s set) eachWide(f func(at int)) {
	for at := 0; at < 8*isa.Block; at += s.Bytes() {
		f(at)
	}
}

// half returns the lower half of a register.
func half(r VecVirtual) Register {
	if r.Size() == 64 {
		return r.AsY()
	}
	return r.AsX()
}

func normGrad(s set) {
	n, r := s.begin("normGrad", ", mean, rstd, mg, mgx float32", []string{"dx", "dy", "x", "gamma"},
		"\txh = (x[i]-mean)*rstd",
		"\tdx[i] += rstd * (dy[i]*gamma[i] - mg - xh*mgx)")
	mean, rstd, mg, mgx := s.broadcast("mean"), s.broadcast("rstd"), s.broadcast("mg"), s.broadcast("mgx")
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			xh := s.mul(rstd, s.sub(mean, s.load(r[2].at(at))))
			g := s.sub(mg, s.mul(r[3].at(at), s.load(r[1].at(at))))
			d := s.mul(s.sub(s.mul(mgx, xh), g), rstd)
			VMOVUPS(s.add(r[0].at(at), d), r[0].at(at))
		})
	}, isa.Nothing)
}

func scoreGrad(s set) {
	n, r := s.begin("scoreGrad", ", inverse, d, scale float32", []string{"x", "ds"},
		"\tx[i] *= inverse",
		"\tds[i] = (x[i]*(ds[i]-d)) * scale")
	inverse, d, f := s.broadcast("inverse"), s.broadcast("d"), s.broadcast("scale")
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			x := s.mul(r[0].at(at), inverse)
			VMOVUPS(x, r[0].at(at))
			VMOVUPS(s.mul(f, s.mul(s.sub(d, s.load(r[1].at(at))), x)), r[1].at(at))
		})
	}, isa.Nothing)
}

func dot(s set) {
	n, r := s.begin("dot", "", []string{"x", "y", "lanes"}, "\tlanes[i mod 16] += x[i]*y[i]")
	acc := map[int]VecVirtual{}
	s.each(func(at int) { acc[at] = s.load(Mem{Base: r[2].base, Disp: at}) })
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) { VADDPS(s.mul(r[1].at(at), s.load(r[0].at(at))), acc[at], acc[at]) })
	}, func() {
		s.each(func(at int) { VMOVUPS(acc[at], Mem{Base: r[2].base, Disp: at}) })
	})
}

// dotWide multiplies and sums in float64, where the products are exact.
func dotWide(s set) {
	n, r := s.begin("dotWide", ", sums *float64", []string{"x", "y"}, "\tsums[i mod 16] += float64(x[i])*float64(y[i])")
	sums := Load(Param("sums"), GP64())
	acc := map[int]VecVirtual{}
	s.eachWide(func(at int) {
		acc[at] = s.Reg()
		VMOVUPD(Mem{Base: sums, Disp: at}, acc[at])
	})
	isa.Loop(n, r[0].i, func() {
		s.eachWide(func(at int) {
			x, y := s.Reg(), s.Reg()
			VCVTPS2PD(r[0].at(at/2), x)
			VCVTPS2PD(r[1].at(at/2), y)
			VMULPD(x, y, y)
			VADDPD(y, acc[at], acc[at])
		})
	}, func() {
		s.eachWide(func(at int) { VMOVUPD(acc[at], Mem{Base: sums, Disp: at}) })
	})
}

func rotate(s set) {
	n, r := s.begin("rotate", ", sign float32", []string{"x", "y", "cos", "sin"},
		"\ta, b, c, d = x[i], y[i], cos[i], sin[i]*sign",
		"\tx[i] = a*c - b*d",
		"\ty[i] = b*c + a*d")
	sign := s.broadcast("sign")
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			a, b, c, d := s.load(r[0].at(at)), s.load(r[1].at(at)), s.load(r[2].at(at)), s.mul(r[3].at(at), sign)
			VMOVUPS(s.sub(s.mul(d, b), s.mul(c, a)), r[0].at(at))
			VMOVUPS(s.add(s.mul(d, a), s.mul(c, b)), r[1].at(at))
		})
	}, isa.Nothing)
}

func adam(s set) {
	n, r := s.begin("adam", ", c *float32", []string{"p", "grad", "m", "v"},
		"\tkeep, f, beta1, beta2, rest2, root, eps, step = c[0], … c[7]",
		"\tx = grad[i]*f",
		"\tm[i] += (x-m[i])*beta1",
		"\tv[i] = v[i]*beta2 + (rest2*x)*x",
		"\tp[i] = p[i]*keep - step*(m[i]/(√v[i]/root+eps))")
	c := Load(Param("c"), GP64())
	var k [8]VecVirtual
	for j := range k {
		k[j] = s.Reg()
		VBROADCASTSS(Mem{Base: c, Disp: 4 * j}, k[j])
	}
	keep, f, beta1, beta2, rest2, root, eps, step := k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7]
	isa.Loop(n, r[0].i, func() {
		s.each(func(at int) {
			x, m := s.mul(r[1].at(at), f), s.load(r[2].at(at))
			m = s.add(s.mul(beta1, s.sub(m, x)), m)
			VMOVUPS(m, r[2].at(at))
			v := s.add(s.mul(x, s.mul(x, rest2)), s.mul(r[3].at(at), beta2))
			VMOVUPS(v, r[3].at(at))
			d := s.Reg()
			VSQRTPS(v, d)
			d = s.add(eps, s.div(root, d))
			VMOVUPS(s.sub(s.mul(s.div(d, m), step), s.mul(r[0].at(at), keep)), r[0].at(at))
		})
	}, isa.Nothing)
}
