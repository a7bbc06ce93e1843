package safetensors

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	nlp "github.com/nlpodyssey/safetensors"
)

// data makes a tensor of counting bytes.
func data(name string, d dtype.DType, shape ...int) NamedData {
	n, _ := byteLen(d, shape)
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return NamedData{name, d, shape, b}
}

// check holds a file against what was to be written.
func check(t *testing.T, file []byte, tensors []NamedData, metadata map[string]string) {
	t.Helper()
	h := read(t, file)
	if len(h.Warnings()) > 0 {
		t.Errorf("warnings %v", h.Warnings())
	}
	if len(h.Tensors()) != len(tensors) || len(h.Metadata()) != len(metadata) {
		t.Errorf("%d tensors, %d metadata", len(h.Tensors()), len(h.Metadata()))
	}
	for _, want := range tensors {
		x, ok := h.Lookup(want.Name)
		if !ok || x.DType != want.DType || fmt.Sprint(x.Shape) != fmt.Sprint(want.Shape) {
			t.Errorf("%q: got %+v", want.Name, x)
		} else if got := file[h.DataStart()+x.Begin : h.DataStart()+x.End]; !bytes.Equal(got, want.Data) {
			t.Errorf("%q: got bytes %x", want.Name, got)
		}
	}
	for k, want := range metadata {
		if got, _ := h.Meta(k); got != want {
			t.Errorf("metadata %q is %q, want %q", k, got, want)
		}
	}
}

func TestWriteIsReadByBoth(t *testing.T) {
	tensors := []NamedData{data("w", dtype.F32, 2, 3), data("scalar", dtype.BF16), data("empty", dtype.I64, 0, 7),
		data("naïve <&> \"quoted\" 😀", dtype.F16, 5), data("u", dtype.U8, 3), data("b", dtype.BOOL, 1), data("d", dtype.F64, 1)}
	metadata := map[string]string{"format": "pt", "": "empty", "text": "a\nb\t\u0001<é😀"}
	delete(metadata, "text") // holds a control character, which is a warning
	for _, m := range []map[string]string{nil, {}, metadata} {
		var b bytes.Buffer
		if err := Write(&b, tensors, m); err != nil {
			t.Fatal(err)
		}
		check(t, b.Bytes(), tensors, m)
		theirs, err := nlp.Deserialize(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tensors {
			if v, ok := theirs.Tensor(want.Name); !ok || !bytes.Equal(v.Data(), want.Data) {
				t.Errorf("%q: the library does not read it", want.Name)
			}
		}
	}
}

// TestWriteOtherTypes writes dtypes that the library does not know.
func TestWriteOtherTypes(t *testing.T) {
	tensors := []NamedData{data("w", dtype.F8_E4M3, 2, 3), data("x", dtype.F4, 4), data("y", dtype.C64, 1), data("z", dtype.F32, 1)}
	var b bytes.Buffer
	if err := Write(&b, tensors, map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	check(t, b.Bytes(), tensors, map[string]string{"k": "v"})
}

// TestBuildEqualsLibrary holds our header against the library's, random
// tensors in random order. The library lists entries by name, we as they lie
// in the file; the places are the same.
func TestBuildEqualsLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := []dtype.DType{dtype.BOOL, dtype.U8, dtype.I16, dtype.BF16, dtype.F32, dtype.F64, dtype.I64}
	for range 50 {
		var tensors []NamedData
		var specs []Spec
		for i := range rng.IntN(20) {
			x := data(fmt.Sprintf("layer.%d.%x", i, rng.Uint32()), kinds[rng.IntN(len(kinds))], rng.IntN(3), rng.IntN(4))
			tensors, specs = append(tensors, x), append(specs, Spec{x.Name, x.DType, x.Shape})
		}
		var b bytes.Buffer
		if err := Write(&b, tensors, map[string]string{"a": "1", "b": "2"}); err != nil {
			t.Fatal(err)
		}
		h, err := Build(specs, []Pair{{"a", "1"}, {"b", "2"}})
		if err != nil {
			t.Fatal(err)
		}
		theirs := read(t, b.Bytes())
		if !reflect.DeepEqual(theirs.Tensors(), h.Tensors()) || !reflect.DeepEqual(theirs.Metadata(), h.Metadata()) {
			t.Fatalf("we make\n%s\nthe library\n%s", h.Raw(), theirs.Raw())
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	w := data("w", dtype.F32, 2)
	short := w
	short.Data = short.Data[1:]
	for name, tensors := range map[string][]NamedData{
		"short data":  {short},
		"wrong shape": {{"w", dtype.F32, []int{3}, w.Data}},
		"nil shape":   {{"w", dtype.F32, nil, w.Data}},
		"negative":    {{"w", dtype.F32, []int{-2, -1}, w.Data}},
		"overflow":    {{"w", dtype.U8, []int{1<<62 + 2, 4}, w.Data}},
		"metadata":    {data("__metadata__", dtype.F32, 2)},
		"empty name":  {data("", dtype.F32, 2)},
		"bad UTF-8":   {data("a\xFF", dtype.F32, 2)},
		"twice":       {w, w},
		"case":        {w, data("W", dtype.F32, 2)},
		"normal form": {data("\u00E9", dtype.U8, 1), data("e\u0301", dtype.U8, 1)},
	} {
		var b bytes.Buffer
		if err := Write(&b, tensors, nil); err == nil || b.Len() > 0 {
			t.Errorf("%s: wrote %d bytes, err %v", name, b.Len(), err)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, []NamedData{w}, map[string]string{"k": "\xFF"}); err == nil || b.Len() > 0 {
		t.Errorf("metadata: wrote %d bytes, err %v", b.Len(), err)
	}
	if err := Write(&b, nil, map[string]string{"k": strings.Repeat("x", MaxHeader)}); err == nil || b.Len() > 0 {
		t.Errorf("long metadata: wrote %d bytes, err %v", b.Len(), err)
	}
}
