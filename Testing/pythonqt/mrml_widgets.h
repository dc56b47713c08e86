// Stand-ins for the two qMRML widgets that .ui files of the modules name. They keep what they are
// given; nodes come and go as Python objects.
#pragma once

#include <PythonQt.h>

#include <QStringList>
#include <QWidget>

class vtkMRMLNode;
class vtkMRMLScene;

class qMRMLWidget : public QWidget
{
  Q_OBJECT
public:
  using QWidget::QWidget;
public Q_SLOTS:
  void setMRMLScene(PyObject*) {}
Q_SIGNALS:
  void mrmlSceneChanged(vtkMRMLScene*);
};

class qMRMLNodeComboBox : public QWidget
{
  Q_OBJECT
  Q_PROPERTY(QStringList hideChildNodeTypes MEMBER m_hidden)
  Q_PROPERTY(QStringList nodeTypes MEMBER m_types)
  Q_PROPERTY(bool addEnabled MEMBER m_add)
  Q_PROPERTY(bool editEnabled MEMBER m_edit)
  Q_PROPERTY(bool noneEnabled MEMBER m_none)
  Q_PROPERTY(bool removeEnabled MEMBER m_remove)
  Q_PROPERTY(bool renameEnabled MEMBER m_rename)
  Q_PROPERTY(bool selectNodeUponCreation MEMBER m_select)
  Q_PROPERTY(bool showChildNodeTypes MEMBER m_children)
  Q_PROPERTY(QString baseName MEMBER m_baseName)
  Q_PROPERTY(QString noneDisplay MEMBER m_noneDisplay)
public:
  using QWidget::QWidget;
  Q_INVOKABLE PyObject* currentNode() const
  {
    PyObject* node = m_node ? m_node : Py_None;
    Py_INCREF(node);
    return node;
  }
public Q_SLOTS:
  void setMRMLScene(PyObject*) {}
  void setMRMLScene(vtkMRMLScene*) {}
  void setCurrentNode(PyObject* node)
  {
    node = node == Py_None ? nullptr : node;
    if (node == m_node)
    {
      return;
    }
    Py_XINCREF(node);
    Py_XDECREF(m_node);
    m_node = node;
    emit currentNodeChanged(static_cast<vtkMRMLNode*>(nullptr));
  }
Q_SIGNALS:
  void currentNodeChanged(vtkMRMLNode*);
  void nodeActivated(vtkMRMLNode*);

private:
  PyObject* m_node = nullptr;
  QStringList m_types, m_hidden;
  bool m_add = true, m_edit = false, m_none = false, m_remove = true, m_rename = false;
  bool m_select = true, m_children = true;
  QString m_baseName, m_noneDisplay;
};
