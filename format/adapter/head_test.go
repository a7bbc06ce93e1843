package adapter

import "testing"

func TestHeadOf(t *testing.T) {
	for class, want := range map[string]string{
		"LlamaForCausalLM":                "lm_head.weight",
		"WhisperForConditionalGeneration": "proj_out.weight",
		"T5ForConditionalGeneration":      "lm_head.weight",
		"BertForMaskedLM":                 "cls.predictions.decoder.weight",
		"GPTNeoXForCausalLM":              "lm_head.weight",
		"LlavaForConditionalGeneration":   "lm_head.weight",
		"DetrForObjectDetection":          "", // ties heads of boxes, which are no heads of words
		"ViTForImageClassification":       "",
		"UnheardForCausalLM":              "lm_head.weight",
	} {
		if got := HeadOf([]string{class}); got != want {
			t.Errorf("%s has the head %q, want %q", class, got, want)
		}
	}
}
