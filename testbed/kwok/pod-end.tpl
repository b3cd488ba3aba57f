{{ $now := Now }}
{{ $a := or .metadata.annotations dict }}
{{ $fails := or (ne (or (index $a "pods.swell.dev/fail-after") "") "") (eq (or (index $a "pods.swell.dev/crash-loop") "") "true") (ne (or (index $a "pods.swell.dev/exit-code") "0") "0") }}
{{ $code := 0 }}
{{ if $fails }}{{ $code = int (or (index $a "pods.swell.dev/exit-code") "1") }}{{ end }}
{{ $message := or (index $a "pods.swell.dev/message") "" }}
{{ $reason := "PodFailed" }}{{ if not $fails }}{{ $reason = "PodCompleted" }}{{ end }}
phase: {{ if $fails }}Failed{{ else }}Succeeded{{ end }}
conditions:
- {type: Ready, status: "False", reason: {{ $reason }}, message: null, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: {{ $reason }}, message: null, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .status.containerStatuses }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: {{ .restartCount }}
  {{ with .lastState }}lastState: {{ toJson . }}{{ end }}
  state:
    terminated:
      exitCode: {{ $code }}
      reason: {{ if eq $code 0 }}Completed{{ else }}Error{{ end }}
      {{ with $message }}message: {{ . | Quote }}{{ end }}
      startedAt: {{ dig "state" "running" "startedAt" $now . | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
