package linalg

import (
	"fmt"
	"testing"
	"unsafe"
)

// gflops reports 2·m·n·k floating-point operations per iteration as a rate.
func gflops(b *testing.B, m, n, k int) {
	b.ReportMetric(2*float64(m)*float64(n)*float64(k)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
}

// fast is the implementations that benchmarks measure: those in assembly, or
// plain Go where there is none.
func fast() []isa {
	if all := available(); len(all) > 1 {
		return all[1:]
	}
	return []isa{generic}
}

func BenchmarkPeak(b *testing.B) {
	for _, i := range fast() {
		b.Run("float32/"+i.String(), func(b *testing.B) { benchmarkPeak(b, i, peak32) })
		b.Run("float64/"+i.String(), func(b *testing.B) { benchmarkPeak(b, i, peak64) })
	}
}

func benchmarkPeak(b *testing.B, i isa, peak func(isa, int) int) {
	const rounds = 1 << 16
	flops := 0
	for b.Loop() {
		flops = peak(i, rounds)
	}
	gflops(b, rounds, flops/2, 1)
}

func BenchmarkGemm(b *testing.B) {
	for _, i := range fast() {
		b.Run("float32/"+i.String(), func(b *testing.B) { benchmarkGemm[float32](b, i, 1024) })
		b.Run("float64/"+i.String(), func(b *testing.B) { benchmarkGemm[float64](b, i, 1024) })
	}
}

func benchmarkGemm[T Float](b *testing.B, i isa, n int) {
	x, y, c := random[T](n, n, 1), random[T](n, n, 2), random[T](n, n, 3)
	for b.Loop() {
		gemm(i, c, x, y, false)
	}
	gflops(b, n, n, n)
}

func BenchmarkPackedMul(b *testing.B) {
	shapes := []struct{ m, n, k int }{
		{8, 4096, 16}, {64, 512, 16}, {64, 4096, 16}, {1024, 1024, 16}, {4096, 4096, 16},
		{8, 4096, 64}, {64, 4096, 64}, {1024, 1024, 64}, {4096, 4096, 64}, {64, 4096, 256},
	}
	for _, i := range fast() {
		for _, s := range shapes {
			b.Run(fmt.Sprintf("float32/%v/%dx%dx%d", i, s.m, s.n, s.k), func(b *testing.B) {
				benchmarkMul[float32](b, i, s.m, s.n, s.k)
			})
		}
		for _, k := range []int{16, 64} {
			b.Run(fmt.Sprintf("float64/%v/64x4096x%d", i, k), func(b *testing.B) {
				benchmarkMul[float64](b, i, 64, 4096, k)
			})
		}
	}
}

func benchmarkMul[T Float](b *testing.B, i isa, m, n, k int) {
	x, c := random[T](m, k, 1), random[T](m, n, 3)
	var p Packed[T]
	p.pack(i, random[T](k, n, 2))
	b.ReportAllocs()
	for b.Loop() {
		p.mul(c, x, 0, 0, false)
	}
	gflops(b, m, n, k)
}

func BenchmarkVectors(b *testing.B) {
	for _, i := range fast() {
		b.Run("AddBounds/float32/"+i.String(), func(b *testing.B) {
			benchmarkVectors(b, func(lo, hi, w, d []float32) { addBounds32(i, lo, hi, w, d, 1e-6) })
		})
		b.Run("AddBounds/float64/"+i.String(), func(b *testing.B) {
			benchmarkVectors(b, func(lo, hi, w, d []float64) { addBounds64(i, lo, hi, w, d, 1e-12) })
		})
		b.Run("Update/float32/"+i.String(), func(b *testing.B) {
			benchmarkVectors(b, func(_, m, w, d []float32) { update(i, w, m, d) })
		})
		b.Run("Update/float64/"+i.String(), func(b *testing.B) {
			benchmarkVectors(b, func(_, m, w, d []float64) { update(i, w, m, d) })
		})
	}
}

func benchmarkVectors[T Float](b *testing.B, f func(lo, hi, w, d []T)) {
	const n = 4096
	v := random[T](4, n, 1).Data
	b.SetBytes(int64(4 * n * unsafe.Sizeof(v[0])))
	for b.Loop() {
		f(v[:n], v[n:2*n], v[2*n:3*n], v[3*n:])
	}
	b.ReportMetric(n*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "elem/ns")
}
