package linalg

import (
	"fmt"
	"syscall"
	"testing"
)

func cpuSeconds() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)*1e-6
}

func BenchmarkShapes(b *testing.B) {
	for _, s := range []struct {
		m, n, k int
		ta, tb  bool
	}{
		{1024, 576, 576, false, true}, {1024, 192, 576, false, true}, {1024, 1536, 576, false, true}, {1024, 576, 1536, false, true},
		{1024, 576, 576, false, false}, {1024, 576, 192, false, false}, {1024, 576, 1536, false, false}, {1024, 1536, 576, false, false},
		{512, 49152, 576, false, true}, {512, 576, 49152, false, false},
		{1024, 16, 576, false, true}, {1024, 16, 1536, false, true}, {1024, 1536, 16, false, false}, {1024, 576, 16, false, false},
		{16, 1536, 1024, true, false}, {16, 576, 1024, true, false},
	} {
		b.Run(fmt.Sprintf("%dx%dx%d_%v_%v", s.m, s.n, s.k, s.ta, s.tb), func(b *testing.B) {
			x, y, c := random[float32](s.m, s.k, 1), random[float32](s.k, s.n, 2), random[float32](s.m, s.n, 3)
			if s.ta {
				x = random[float32](s.k, s.m, 1).T()
			}
			if s.tb {
				y = random[float32](s.n, s.k, 2).T()
			}
			Products(1, x, Term[float32]{C: c, B: FactorOf(y)})
			start, n := cpuSeconds(), 0
			for b.Loop() {
				Products(1, x, Term[float32]{C: c, B: FactorOf(y)})
				n++
			}
			b.ReportMetric(2e-9*float64(s.m)*float64(s.n)*float64(s.k)*float64(n)/(cpuSeconds()-start), "cpuGFLOPS")
		})
	}
}
