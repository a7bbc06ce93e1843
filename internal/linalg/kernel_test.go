package linalg

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestKernelChoice runs this test binary again under GODEBUG settings and
// lets TestPrintKernel say what was chosen.
func TestKernelChoice(t *testing.T) {
	tests := []struct {
		godebug string
		most    isa
	}{
		{"", avx512Pairs},
		{"cpu.avx512bf16=off", avx512Flush},
		{"cpu.avx512f=off", avx2Flush},
		{"cpu.avx2=off", genericFlush},
		{"cpu.fma=off", genericFlush},
		{"cpu.avx512f=off,cpu.avx2=off", genericFlush},
	}
	for _, tt := range tests {
		t.Run(tt.godebug, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestPrintKernel$", "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG="+os.Getenv("GODEBUG")+","+tt.godebug, "LINALG_PRINT_KERNEL=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if want := "kernel " + min(tt.most, bestBF16()).String() + "\n"; !strings.Contains(string(out), want) {
				t.Errorf("got %s, want %s", out, want)
			}
		})
	}
}

func TestPrintKernel(t *testing.T) {
	if os.Getenv("LINALG_PRINT_KERNEL") == "" {
		t.Skip("run by TestKernelChoice")
	}
	os.Stdout.WriteString("kernel " + KernelBF16() + "\n")
}
