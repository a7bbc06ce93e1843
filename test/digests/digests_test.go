//go:build digests

// Package digests builds the command in every way that changes its arithmetic
// instructions, runs the same merges with each and with several numbers of
// threads, and compares the digests of all output files: of merged checkpoints,
// their records and what unmerge restores.
package digests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A build is one way to compile the command.
type build struct {
	name string
	env  []string
	args []string
}

// A variant is one way to run a build; kernel is what it must say it uses.
type variant struct {
	build, name string
	env         []string
	kernel      string
}

// plan lists what this machine can build and run. Kernels other than generic
// exist for amd64.
func plan() (builds []build, variants []variant) {
	builds = []build{{name: "plain"}, {name: "noasm", args: []string{"-tags", "noasm"}}}
	threads := func(b string, env []string, kernel string, counts ...string) {
		for _, n := range counts {
			variants = append(variants, variant{b, strings.Join(append(env, "GOMAXPROCS="+n), " "), append(env, "GOMAXPROCS="+n), kernel})
		}
	}
	threads("plain", nil, "", "1", "2", "7")
	threads("noasm", nil, "generic", "2")
	if runtime.GOARCH != "amd64" {
		return builds, variants
	}
	builds = append(builds, build{name: "v3", env: []string{"GOAMD64=v3"}}, build{name: "v3 noasm", env: []string{"GOAMD64=v3"}, args: []string{"-tags", "noasm"}})
	threads("plain", []string{"GODEBUG=cpu.avx512f=off"}, "avx2", "1", "7")
	threads("plain", []string{"GODEBUG=cpu.avx512f=off,cpu.avx2=off"}, "generic", "2")
	threads("v3", nil, "", "2")
	threads("v3 noasm", nil, "generic", "7") // the compiler fuses x*y + z here
	return builds, variants
}

func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	merges := writeInputs(t, in)
	builds, variants := plan()
	binaries := map[string]string{}
	for _, b := range builds {
		binaries[b.name] = compile(t, dir, b)
	}
	kernels, first := map[string]bool{}, map[string]string{}
	for _, v := range variants {
		t.Run(v.build+" "+v.name, func(t *testing.T) {
			kernel := kernelOf(t, binaries[v.build], v.env)
			if kernels[kernel] = true; v.kernel != "" && kernel != v.kernel {
				if v.kernel == "avx2" && kernel == "generic" {
					t.Skip("this processor has no AVX2")
				}
				t.Fatalf("uses %s kernels, want %s", kernel, v.kernel)
			}
			out := t.TempDir()
			for _, m := range merges {
				run(t, binaries[v.build], v.env, m.arguments(in, out)...)
				if m.undo {
					run(t, binaries[v.build], v.env, m.undoing(in, out)...)
					sameFile(t, m.restored(out), filepath.Join(in, m.base))
				}
			}
			for _, c := range adapterCommands {
				run(t, binaries[v.build], v.env, c.arguments(in, out)...)
			}
			found := digestsOf(t, out)
			if len(first) == 0 {
				first = found
				t.Logf("%d files", len(found))
				return
			}
			for _, name := range slices.Sorted(maps.Keys(first)) {
				if found[name] != first[name] {
					t.Errorf("%s differs from what the first variant wrote", name)
				}
			}
			if len(found) != len(first) {
				t.Errorf("%d files, want %d", len(found), len(first))
			}
		})
	}
	if runtime.GOARCH == "amd64" && len(kernels) < 3 {
		t.Logf("NOT RUN on this processor: only %v of generic, avx2, avx512", slices.Sorted(maps.Keys(kernels)))
	}
}

func compile(t *testing.T, dir string, b build) string {
	t.Helper()
	path := filepath.Join(dir, strings.ReplaceAll(b.name, " ", "-"))
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, b.args, []string{"../../cmd/loratool"})...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), b.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", b.name, err, out)
	}
	return path
}

func run(t *testing.T, binary string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("loratool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// kernelOf returns the kernels that a variant says it uses.
func kernelOf(t *testing.T, binary string, env []string) string {
	t.Helper()
	out := run(t, binary, env, "version")
	_, kernel, found := strings.Cut(strings.TrimSpace(out), "kernels ")
	if !found {
		t.Fatalf("version says %q, want the kernels in it", out)
	}
	return kernel
}

// sameFile compares the weights of a restored folder with those of the base,
// and removes it: all variants' are the base.
func sameFile(t *testing.T, restored, base string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(restored, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(base, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the base", restored)
	}
	if err := os.RemoveAll(restored); err != nil {
		t.Fatal(err)
	}
}

// digestsOf returns the SHA-256 of every file under dir.
func digestsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sum := sha256.Sum256(data)
		found[strings.TrimPrefix(path, dir)] = fmt.Sprint(len(data), hex.EncodeToString(sum[:]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
