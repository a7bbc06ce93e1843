package safetensors

import (
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/testdata/hostile"
)

const editSource = `{"__metadata__":{"format":"pt"}, "b" : {"dtype":"BF16","shape":[2,1],"data_offsets":[4,8]},` +
	`"a":{"data_offsets" : [0,4] ,"shape":[1],"dtype":"F32"},"\u0063":{"dtype":"I32","shape":[1],"data_offsets":[8,12]}}    `

func toF64(t Tensor) dtype.DType {
	if t.DType.Float() {
		return dtype.F64
	}
	return t.DType
}

func named(names ...string) func(string) bool {
	return func(n string) bool { return slices.Contains(names, n) }
}

func TestEditKeepsLayout(t *testing.T) {
	h := read(t, hostile.File(editSource, 12))
	for _, c := range []struct {
		name string
		edit Edit
		want string
	}{
		{"dtype", Edit{DType: toF64}, `{"__metadata__":{"format":"pt"}, "b" : {"dtype":"F64","shape":[2,1],"data_offsets":[8,24]},` +
			`"a":{"data_offsets" : [0,8] ,"shape":[1],"dtype":"F64"},"\u0063":{"dtype":"I32","shape":[1],"data_offsets":[24,28]}}`},
		{"append", Edit{Append: []Spec{{"d", dtype.F16, []int{3, 1}}, {"e", dtype.U8, nil}}}, strings.TrimRight(editSource, "} ") + `},` +
			`"d":{"dtype":"F16","shape":[3,1],"data_offsets":[12,18]},"e":{"dtype":"U8","shape":[],"data_offsets":[18,19]}}`},
		{"remove first", Edit{Remove: named("b")}, `{"__metadata__":{"format":"pt"}, ` +
			`"a":{"data_offsets" : [0,4] ,"shape":[1],"dtype":"F32"},"\u0063":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}}`},
		{"remove last", Edit{Remove: named("c")}, `{"__metadata__":{"format":"pt"}, "b" : {"dtype":"BF16","shape":[2,1],"data_offsets":[4,8]},` +
			`"a":{"data_offsets" : [0,4] ,"shape":[1],"dtype":"F32"}}`},
		{"remove all", Edit{Remove: named("a", "b", "c")}, `{"__metadata__":{"format":"pt"}}`},
		{"replace", Edit{Remove: named("a", "b", "c"), Append: []Spec{{"c", dtype.U8, nil}}}, `{"__metadata__":{"format":"pt"},"c":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`},
	} {
		got, err := h.Edit(c.edit)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		raw := string(got.Raw()[prefixLen:])
		if strings.TrimRight(raw, " ") != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, raw, c.want)
		}
		if len(got.Raw())%headerAlign != 0 {
			t.Errorf("%s: header of %d bytes", c.name, len(got.Raw()))
		}
	}
}

func TestEditOfNothing(t *testing.T) {
	h := read(t, hostile.File(editSource, 12))
	for _, e := range []Edit{{}, {DType: func(t Tensor) dtype.DType { return t.DType }, Remove: named("x")}} {
		if got, err := h.Edit(e); err != nil || got != h {
			t.Errorf("got another header, %v", err)
		}
	}
}

func TestEditOfEmpty(t *testing.T) {
	h := read(t, hostile.File(`{ }`, 0))
	got, err := h.Edit(Edit{Append: []Spec{{"a", dtype.U8, []int{2}}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{ "a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`; strings.TrimRight(string(got.Raw()[prefixLen:]), " ") != want {
		t.Errorf("got %s", got.Raw()[prefixLen:])
	}
}

func TestEditRefuses(t *testing.T) {
	h := read(t, hostile.File(editSource, 12))
	for name, e := range map[string]Edit{
		"there already": {Append: []Spec{{"a", dtype.U8, nil}}},
		"twice":         {Append: []Spec{{"x", dtype.U8, nil}, {"x", dtype.U8, nil}}},
		"metadata":      {Append: []Spec{{"__metadata__", dtype.U8, nil}}},
		"bad UTF-8":     {Append: []Spec{{"\xFF", dtype.U8, nil}}},
		"negative":      {Append: []Spec{{"x", dtype.U8, []int{-1}}}},
		"overflow":      {Append: []Spec{{"x", dtype.U8, []int{1 << 60, 1 << 60}}}},
		"too big":       {Append: []Spec{{"x", dtype.U8, []int{1 << 60}}, {"y", dtype.U8, []int{1 << 60}}, {"z", dtype.F64, []int{1 << 57, 7}}, {"zz", dtype.F64, []int{1 << 57, 7}}}},
		"half a byte":   {Append: []Spec{{"x", dtype.F4, []int{1}}}},
		"sub-byte":      {DType: func(Tensor) dtype.DType { return dtype.F4 }},
	} {
		if got, err := h.Edit(e); err == nil {
			t.Errorf("%s: accepted: %s", name, got.Raw())
		}
	}
}
