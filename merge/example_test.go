package merge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/merge"
)

func ExampleApply() {
	dir, _ := os.MkdirTemp("", "merge")
	defer os.RemoveAll(dir)
	write := func(name string, tensors ...safetensors.NamedData) string {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o777)
		f, _ := os.Create(path)
		defer f.Close()
		safetensors.Write(f, tensors, nil)
		return path
	}
	tensor := func(name string, values []float64, shape ...int) safetensors.NamedData {
		data := make([]byte, 4*len(values))
		dtype.F32.Encode64(data, values)
		return safetensors.NamedData{Name: name, DType: dtype.F32, Shape: shape, Data: data}
	}
	basePath := write("base.safetensors", tensor("q.weight", []float64{1, 2, 3, 4}, 2, 2))
	write("adapter/adapter_model.safetensors",
		tensor("base_model.model.q.lora_A.weight", []float64{1, 10}, 1, 2),
		tensor("base_model.model.q.lora_B.weight", []float64{1, 2}, 2, 1))
	os.WriteFile(filepath.Join(dir, "adapter", "adapter_config.json"), []byte(`{"peft_type": "LORA", "r": 1, "lora_alpha": 1}`), 0o666)

	base, err := checkpoint.Open(basePath, checkpoint.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer base.Close()
	a, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	out := filepath.Join(dir, "merged.safetensors")
	report, err := merge.Apply(context.Background(), out, base, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, merge.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	merged, _ := safetensors.Open(out)
	defer merged.Close()
	t, _ := merged.Header().Lookup("q.weight")
	values := make([]float64, 4)
	t.DType.Decode64(values, merged.Bytes(t))
	fmt.Println(values, report.Total.Changed)
	// Output: [2 12 5 24] 4
}
