//go:build !noasm

package cpu

//go:generate go run -C ../../../../tools/asmgen ./rows -out ../../train/internal/backend/cpu/rows_amd64.s -stubs ../../train/internal/backend/cpu/rows_gen.go -pkg cpu

// The functions here run the assembly of an implementation, avx2 or avx512, on
// slices of one length, a multiple of 16.

func addScaledPart(i isa, y, x []float32, f float32) {
	if i == avx512 {
		addScaledAVX512(len(y), &y[0], &x[0], f)
		return
	}
	addScaledAVX2(len(y), &y[0], &x[0], f)
}

func scalePart(i isa, x []float32, f float32) {
	if i == avx512 {
		scaleAVX512(len(x), &x[0], f)
		return
	}
	scaleAVX2(len(x), &x[0], f)
}

func mostPart(i isa, x []float32, top *[lanes]float32) {
	if i == avx512 {
		mostAVX512(len(x), &x[0], &top[0])
		return
	}
	mostAVX2(len(x), &x[0], &top[0])
}

func gatePart(i isa, h, g, u []float32) {
	if i == avx512 {
		gateAVX512(len(h), &h[0], &g[0], &u[0])
		return
	}
	gateAVX2(len(h), &h[0], &g[0], &u[0])
}

func gateGradPart(i isa, g, u, dh, e []float32) {
	if i == avx512 {
		gateGradAVX512(len(g), &g[0], &u[0], &dh[0], &e[0])
		return
	}
	gateGradAVX2(len(g), &g[0], &u[0], &dh[0], &e[0])
}

func normalisePart(i isa, y, x, gamma []float32, mean, rstd float32) {
	if i == avx512 {
		normaliseAVX512(len(y), &y[0], &x[0], &gamma[0], mean, rstd)
		return
	}
	normaliseAVX2(len(y), &y[0], &x[0], &gamma[0], mean, rstd)
}

func normSumPart(i isa, dy, x, gamma []float32, mean, rstd float32, sums *[lanes]float64) {
	if i == avx512 {
		normSumAVX512(len(dy), &dy[0], &x[0], &gamma[0], mean, rstd, &sums[0])
		return
	}
	normSumAVX2(len(dy), &dy[0], &x[0], &gamma[0], mean, rstd, &sums[0])
}

func normGradPart(i isa, dx, dy, x, gamma []float32, mean, rstd, mg, mgx float32) {
	if i == avx512 {
		normGradAVX512(len(dx), &dx[0], &dy[0], &x[0], &gamma[0], mean, rstd, mg, mgx)
		return
	}
	normGradAVX2(len(dx), &dx[0], &dy[0], &x[0], &gamma[0], mean, rstd, mg, mgx)
}

func scoreGradPart(i isa, x, g []float32, inverse, d, scale float32) {
	if i == avx512 {
		scoreGradAVX512(len(x), &x[0], &g[0], inverse, d, scale)
		return
	}
	scoreGradAVX2(len(x), &x[0], &g[0], inverse, d, scale)
}

func dotPart(i isa, x, y []float32, sums *[lanes]float32) {
	if i == avx512 {
		dotAVX512(len(x), &x[0], &y[0], &sums[0])
		return
	}
	dotAVX2(len(x), &x[0], &y[0], &sums[0])
}

func dotWidePart(i isa, x, y []float32, sums *[lanes]float64) {
	if i == avx512 {
		dotWideAVX512(len(x), &x[0], &y[0], &sums[0])
		return
	}
	dotWideAVX2(len(x), &x[0], &y[0], &sums[0])
}

func rotatePart(i isa, x, y, cos, sin []float32, sign float32) {
	if i == avx512 {
		rotateAVX512(len(x), &x[0], &y[0], &cos[0], &sin[0], sign)
		return
	}
	rotateAVX2(len(x), &x[0], &y[0], &cos[0], &sin[0], sign)
}

func adamPart(i isa, p, g, m, v []float32, c *adamNumbers) {
	if i == avx512 {
		adamAVX512(len(p), &p[0], &g[0], &m[0], &v[0], &c.keep)
		return
	}
	adamAVX2(len(p), &p[0], &g[0], &m[0], &v[0], &c.keep)
}
