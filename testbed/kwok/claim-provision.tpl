apiVersion: v1
kind: PersistentVolume
metadata:
  name: pvc-{{ .metadata.uid }}
  annotations:
    pv.kubernetes.io/provisioned-by: testbed.swell.dev/volumes
spec:
  storageClassName: {{ .spec.storageClassName | Quote }}
  persistentVolumeReclaimPolicy: Delete
  volumeMode: {{ default "Filesystem" .spec.volumeMode | Quote }}
  accessModes: {{ toJson .spec.accessModes }}
  capacity: {{ toJson .spec.resources.requests }}
  # Never mounted: there is no kubelet.
  hostPath:
    path: /nonexistent/{{ .metadata.uid }}
  claimRef:
    apiVersion: v1
    kind: PersistentVolumeClaim
    namespace: {{ .metadata.namespace | Quote }}
    name: {{ .metadata.name | Quote }}
    uid: {{ .metadata.uid | Quote }}
