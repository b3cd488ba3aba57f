{{ $now := Now }}
{{ $names := list }}{{ range .spec.containers }}{{ $names = append $names .name }}{{ end }}
{{ $message := printf "containers with unready status: [%s]" (join " " $names) }}
conditions:
- {type: Ready, status: "False", reason: ContainersNotReady, message: {{ $message | Quote }}, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "False", reason: ContainersNotReady, message: {{ $message | Quote }}, lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .status.containerStatuses }}
- {{ toJson (set . "ready" false) }}
{{ end }}
