{{ $now := Now }}
{{ $a := or .metadata.annotations dict }}
{{ $code := int (or (index $a "pods.swell.dev/exit-code") "1") }}
{{ $message := or (index $a "pods.swell.dev/message") "" }}
{{ $names := list }}{{ range .spec.containers }}{{ $names = append $names .name }}{{ end }}
{{ $unready := printf "containers with unready status: [%s]" (join " " $names) }}
conditions:
- {type: Ready, status: "False", reason: ContainersNotReady, message: {{ $unready | Quote }}, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: ContainersNotReady, message: {{ $unready | Quote }}, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .status.containerStatuses }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: {{ add 1 .restartCount }}
  state: {waiting: {reason: CrashLoopBackOff, message: {{ printf "back-off restarting failed container %s" .name | Quote }}}}
  lastState:
    terminated:
      exitCode: {{ $code }}
      reason: {{ if eq $code 0 }}Completed{{ else }}Error{{ end }}
      {{ with $message }}message: {{ . | Quote }}{{ end }}
      startedAt: {{ dig "state" "running" "startedAt" $now . | Quote }}
      finishedAt: {{ $now | Quote }}
{{ end }}
