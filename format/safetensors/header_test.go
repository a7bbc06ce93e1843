package safetensors

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/testdata/hostile"
)

func read(t *testing.T, b []byte) *Header {
	t.Helper()
	h, err := ReadHeader(bytes.NewReader(b), int64(len(b)), "test")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestReadHeader(t *testing.T) {
	b := hostile.File(`{"__metadata__":{"z":"1","a":"2"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"data_offsets":[4,8],"dtype":"F32","shape":[1]}} `, 12)
	h := read(t, b)
	if !bytes.Equal(h.Raw(), b[:len(b)-12]) || h.DataStart() != int64(len(b)-12) || h.DataSize() != 12 {
		t.Errorf("raw %q, data at %d, %d bytes", h.Raw(), h.DataStart(), h.DataSize())
	}
	var names []string
	for _, x := range h.Tensors() {
		names = append(names, x.Name)
	}
	if got := strings.Join(names, ""); got != "acb" {
		t.Errorf("order %s, want acb", got)
	}
	x, ok := h.Lookup("b")
	if !ok || x.DType != dtype.BF16 || x.Elements() != 2 || len(x.Shape) != 2 || x.Shape[0] != 2 || x.Begin != 8 || x.End != 12 {
		t.Errorf("b is %+v", x)
	}
	if x, _ := h.Lookup("a"); x.Elements() != 1 || len(x.Shape) != 0 {
		t.Errorf("a is %+v", x)
	}
	if _, ok := h.Lookup("d"); ok {
		t.Error("found d")
	}
	if m := h.Metadata(); len(m) != 2 || m[0] != (Pair{"z", "1"}) || m[1] != (Pair{"a", "2"}) {
		t.Errorf("metadata %v", m)
	}
	if v, ok := h.Meta("a"); v != "2" || !ok {
		t.Errorf("a=%q", v)
	}
}

// TestFaultTellsWhere holds positions and numbers of messages.
func TestFaultTellsWhere(t *testing.T) {
	for _, c := range []struct {
		header string
		data   int
		want   string
	}{
		{"{\"\xFF\":1}", 0, `test: byte 10: 0xFF is not valid UTF-8 here [ST004]`},
		{`{"a":1,}`, 0, `test: tensor "a": entry is not an object (byte 13) [ST010]`},
		{`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}`, 3, `test: file is 1 bytes too short: 3 of 4 tensor bytes are there [ST016]`},
		{`{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,6]}}`, 6, `test: tensor "a": data_offsets [0,6] are 6 bytes, F16 of shape [2] needs 4 [ST019]`},
		{`{"a":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}`, 6, `test: tensor "a": hole of 2 bytes before it, at data offset 0 [ST017]`},
		{`{"a":{"dtype":"F16","shape":[-2],"data_offsets":[0,4]}}`, 4, `test: tensor "a": shape holds "-2" at byte 37, expected an unsigned 64-bit integer [ST013]`},
		{`{"a":{},"a":{}}`, 0, `test: tensor "a": entry has no dtype [ST010]`},
		{`{}` + "\x00", 0, `test: NUL padding: 0x00 at byte 10 of the file [ST005]`},
	} {
		b := hostile.File(c.header, c.data)
		_, err := ReadHeader(bytes.NewReader(b), int64(len(b)), "test")
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.header, err, c.want)
		}
	}
}

func TestReadErrorIsNoRule(t *testing.T) {
	b := hostile.File(`{}`, 0)
	_, err := ReadHeader(bytes.NewReader(b[:9]), int64(len(b)), "test") // shrank after it was measured
	if _, ok := errors.AsType[*rule.Error](err); err == nil || ok {
		t.Errorf("got %v, want an I/O error", err)
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		shape []int
		want  int
	}{{nil, 1}, {[]int{3, 4}, 12}, {[]int{0, 1 << 62, 4}, 0}, {[]int{1 << 62, 4, 0}, 0}} {
		if got := (Tensor{Shape: c.shape}).Elements(); got != c.want {
			t.Errorf("%v: %d, want %d", c.shape, got, c.want)
		}
	}
}

func TestSniff(t *testing.T) {
	for _, c := range []struct{ head, want string }{
		{"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
		{"\xEF\xBB\xBF <HTML>", "HTML page"},
		{"PK\x03\x04", "zip archive (torch.save writes one)"},
		{"\x80\x02}", "pickle (old torch.save)"},
		{"GGUF\x03", "GGUF file"},
		{` [1`, "JSON text"},
		{"", ""}, {"hello", ""}, {"{hello", ""}, {"\x80\x09}", ""},
	} {
		if got, ok := Sniff([]byte(c.head)); got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%q is %q, want %q", c.head, got.Name, c.want)
		}
	}
}

// TestNamesSurviveGrowth adds more names than were reserved: keys spelled
// with escapes are not counted beforehand.
func TestNamesSurviveGrowth(t *testing.T) {
	h := strings.ReplaceAll(hostile.Many(5000, 400_000), "data_offsets", `d\u0061ta_offsets`)
	got := read(t, hostile.File(h, 5000))
	for i, x := range got.Tensors() {
		if y, ok := got.Lookup(x.Name); !ok || y.Begin != int64(i) {
			t.Fatalf("%s: %v %+v", x.Name, ok, y)
		}
	}
}

func BenchmarkReadHeader(b *testing.B) {
	file := hostile.File(hostile.Many(10_000, 1_000_000), 10_000)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadHeader(bytes.NewReader(file), int64(len(file)), ""); err != nil {
			b.Fatal(err)
		}
	}
}
