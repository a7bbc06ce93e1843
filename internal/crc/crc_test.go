package crc

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// same holds an implementation against hash/crc32.
func same(t *testing.T, k *kernel, castagnoli, ieee uint32, p []byte) {
	t.Helper()
	c, i := k.update(castagnoli, ieee, p)
	wantC, wantI := crc32.Update(castagnoli, castagnoliTable, p), crc32.Update(ieee, crc32.IEEETable, p)
	if c != wantC || i != wantI {
		t.Fatalf("%s: %d bytes from %#x, %#x: %#x, %#x, want %#x, %#x", k.name, len(p), castagnoli, ieee, c, i, wantC, wantI)
	}
}

// random returns n bytes that a seed determines.
func random(n int, seed uint64) []byte {
	r, p := rand.New(rand.NewPCG(seed, 5)), make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// TestLengths sums up every length about the steps of the assembly, and random
// ones, from fresh and random states, at an alignment each.
func TestLengths(t *testing.T) {
	data, r := random(1<<20, 1), rand.New(rand.NewPCG(2, 2))
	for _, k := range all() {
		same(t, k, r.Uint32(), r.Uint32(), nil)
		for n := range 2101 {
			at := r.IntN(64)
			same(t, k, 0, 0, data[at:at+n])
			same(t, k, r.Uint32(), r.Uint32(), data[at:at+n])
		}
		for range 100 {
			at := r.IntN(64)
			same(t, k, r.Uint32(), r.Uint32(), data[at:at+r.IntN(len(data)-64)])
		}
	}
}

// TestAlignments starts at every address modulo 64.
func TestAlignments(t *testing.T) {
	data, r := random(64+3*1024, 3), rand.New(rand.NewPCG(4, 4))
	for _, k := range all() {
		for at := range 64 {
			for _, n := range []int{256, 384, 512, 768, 1024 + r.IntN(64), 2047, 3 * 1024} {
				same(t, k, r.Uint32(), r.Uint32(), data[at:at+n])
			}
		}
	}
}

// TestBits sets one bit of the bytes or of the states, on which both sums
// depend linearly: all else follows.
func TestBits(t *testing.T) {
	p := make([]byte, 2*512+3*64+3*16+15) // every step
	for _, k := range all() {
		for bit := range 8 * len(p) {
			p[bit/8] = 1 << (bit % 8)
			same(t, k, 1<<32-1, 1<<32-1, p)
			p[bit/8] = 0
		}
		for bit := range 32 {
			same(t, k, ^uint32(1<<bit), 1<<32-1, p)
			same(t, k, 1<<32-1, ^uint32(1<<bit), p)
		}
	}
}

// TestParts goes on with a sum part by part.
func TestParts(t *testing.T) {
	data, r := random(1<<16, 5), rand.New(rand.NewPCG(6, 6))
	for _, k := range all() {
		for range 50 {
			var c, i uint32
			for done := 0; done < len(data); {
				n := min(r.IntN(1<<r.IntN(14)), len(data)-done)
				c, i = k.update(c, i, data[done:done+n])
				done += n
			}
			if c != crc32.Checksum(data, castagnoliTable) || i != crc32.ChecksumIEEE(data) {
				t.Fatalf("%s: %#x, %#x", k.name, c, i)
			}
		}
	}
}

func FuzzUpdate(f *testing.F) {
	f.Add(uint32(0), uint32(0), 0, []byte("123456789"))
	f.Add(uint32(1), ^uint32(0), 1, random(511, 7))
	f.Add(^uint32(0), uint32(1), 600, random(1500, 8))
	f.Fuzz(func(t *testing.T, castagnoli, ieee uint32, split int, p []byte) {
		for len(p) > 0 && len(p) < 2*least {
			p = append(p, p...) // what the assembly takes, whatever the fuzzer likes
		}
		split = min(max(split, 0), len(p))
		for _, k := range all() {
			same(t, k, castagnoli, ieee, p)
			c, i := k.update(castagnoli, ieee, p[:split])
			same(t, k, c, i, p[split:])
		}
	})
}

// TestKernelChoice runs this test binary again under GODEBUG settings and lets
// TestPrintKernel say what was chosen.
func TestKernelChoice(t *testing.T) {
	for _, tt := range []struct {
		godebug string
		want    *kernel
	}{
		{"", best()},
		{"cpu.avx512f=off", &generic},
		{"cpu.avx512vpclmulqdq=off", &generic},
		{"cpu.pclmulqdq=off", &generic},
	} {
		t.Run(tt.godebug, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestPrintKernel$", "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG="+os.Getenv("GODEBUG")+","+tt.godebug, "CRC_PRINT_KERNEL=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if want := "kernel " + tt.want.name + "\n"; !strings.Contains(string(out), want) {
				t.Errorf("got %s, want %s", out, want)
			}
		})
	}
}

func TestPrintKernel(t *testing.T) {
	if os.Getenv("CRC_PRINT_KERNEL") == "" {
		t.Skip("run by TestKernelChoice")
	}
	os.Stdout.WriteString("kernel " + best().name + "\n")
}

// BenchmarkUpdate sums up short bytes, bytes that stay in the second cache, and
// a piece of a record, aligned and not. Generic is hash/crc32 twice.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{512, 1024, 4096, 128 << 10, 4 << 20} {
		data := random(n+64, 9)
		for _, k := range all() {
			for _, at := range []int{0, 5} {
				b.Run(fmt.Sprintf("%d+%d/%s", n, at, k.name), func(b *testing.B) {
					b.SetBytes(int64(n))
					var c, i uint32
					for b.Loop() {
						c, i = k.update(c, i, data[at:at+n])
					}
				})
			}
		}
	}
}
