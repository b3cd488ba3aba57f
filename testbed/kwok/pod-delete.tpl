{{ $now := Now }}
{{ if and (has "batch.kubernetes.io/job-tracking" (or .metadata.finalizers list)) (not (has (or .status.phase "") (list "Succeeded" "Failed"))) }}
phase: Failed
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: 0
  state: {terminated: {exitCode: 143, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
{{ end }}
{{ else }}
{}
{{ end }}
