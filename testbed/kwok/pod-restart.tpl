{{ $now := Now }}
{{ $a := or .metadata.annotations dict }}
{{ $ready := ne (or (index $a "pods.swell.dev/ready") "") "never" }}
{{ if $ready }}
conditions:
- {type: Ready, status: "True", reason: null, message: null, lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", reason: null, message: null, lastTransitionTime: {{ $now | Quote }}}
{{ end }}
containerStatuses:
{{ range .status.containerStatuses }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: {{ $ready }}
  started: true
  restartCount: {{ .restartCount }}
  {{ with .lastState }}lastState: {{ toJson . }}{{ end }}
  state: {running: {startedAt: {{ $now | Quote }}}}
{{ end }}
