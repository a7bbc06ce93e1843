package chat_test

import (
	"fmt"

	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/chat"
)

func Example() {
	t, err := chat.Parse(`{% for m in messages %}<|{{ m.role }}|>
{% generation %}{{ m.content | trim }}</s>{% endgeneration %}

{% endfor %}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	messages, err := strictjson.Decode([]byte(`[{"role": "user", "content": " Hi "}]`))
	if err != nil {
		fmt.Println(err)
		return
	}
	text, spans, err := t.Render(chat.Input{Messages: messages.Elements})
	fmt.Printf("%q %v %v\n", text, spans, err)
	// Output: "<|user|>\nHi</s>\n" [{9 15}] <nil>
}
